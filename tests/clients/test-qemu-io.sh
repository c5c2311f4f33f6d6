#!/usr/bin/env bash
# qemu-io's reads, writes, zeroes, discards and flushes, aligned and not, do what they say.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 16M disk.raw
serve --raw disk=disk.raw
qemu-io -f raw -c 'write -P 1 0 1M' -c 'write -P 2 4095 2' -c 'write -f -P 3 1000001 99' \
    -c 'write -z 64K 64K' -c 'write -z -u 128K 64K' -c 'write -z -n 192K 64K' -c flush \
    -c 'discard 256K 64K' "$(uri disk)" >io.log || fail "$(cat io.log)"
qemu-io -f raw -c 'read -P 1 0 4095' -c 'read -P 2 4095 2' -c 'read -P 1 4097 61439' \
    -c 'read -P 0 64K 192K' -c 'read -P 1 320K 600K' -c 'read -P 3 1000001 99' \
    -c 'read -P 0 1M 15M' "$(uri disk)" >io.log
