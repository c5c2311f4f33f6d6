#!/usr/bin/env bash
# A discard gives the space of the file back, write zeroes keeps it unless unmapping is allowed.
set -euo pipefail
source "$CLIENTS/lib.sh"

blocks() { stat -c %b disk.raw; }

head -c 8M /dev/urandom >disk.raw
sync disk.raw
serve --raw disk=disk.raw
full=$(blocks)
qemu-io -f raw -c 'write -z 0 2M' -c flush "$(uri disk)"
((full <= $(blocks))) || fail "write zeroes without unmap gave space back"
qemu-io -f raw -c 'discard 2M 2M' -c flush "$(uri disk)"
((full - 4000 > $(blocks))) || fail "discard did not give 2 MiB back: $full, $(blocks)"
qemu-io -d unmap -f raw -c 'write -z -u 4M 2M' -c flush "$(uri disk)"
((full - 8000 > $(blocks))) || fail "write zeroes with unmap did not give 2 MiB back"
