#!/usr/bin/env bash
# Where TLS is offered but optional, clients with and without it are served.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
serve_tls --tls-optional --raw disk=mem:1M
qemu-io -f raw -c 'write -P 3 0 1M' "$(uri disk)"
nbdcopy "$(tls_uri disk client)" copy.raw
nbdcopy "$(uri disk)" - | cmp copy.raw -
