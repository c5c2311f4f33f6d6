#!/usr/bin/env bash
# A certificate, key or authority that cannot be used stops the server with one line that names it.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
try() {
    refuse 1 "$1" serve --raw disk=mem:1M --nbd "unix:$socket" "${@:2}"
}
certificate=(--tls-certificate server/server-cert.pem)
key=(--tls-key server/server-key.pem)
echo nonsense >nonsense.pem
try missing.pem --tls-certificate missing.pem "${key[@]}"
try nonsense.pem --tls-certificate nonsense.pem "${key[@]}"
try nonsense.pem "${certificate[@]}" --tls-key nonsense.pem
try 'server-cert.pem|client-key.pem' "${certificate[@]}" --tls-key client/client-key.pem
try nonsense.pem "${certificate[@]}" "${key[@]}" --tls-client-ca nonsense.pem
refuse 2 tls-key serve --raw disk=mem:1M --nbd "unix:$socket" "${certificate[@]}"
refuse 2 tls-certificate serve --raw disk=mem:1M --nbd "unix:$socket" --tls-client-ca x.pem
