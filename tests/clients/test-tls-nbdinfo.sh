#!/usr/bin/env bash
# libnbd's clients speak TLS with the server, and copy a disk through it equal to the last byte.
set -euo pipefail
source "$CLIENTS/lib.sh"

certificates
real_disk disk.raw
serve_tls --tls-client-ca authority/ca-cert.pem --raw disk=disk.raw
nbdinfo --json "$(tls_uri disk client)" >info.json
jq -e .TLS info.json
nbdcopy --connections=3 "$(tls_uri disk client)" copy.raw
cmp disk.raw copy.raw
