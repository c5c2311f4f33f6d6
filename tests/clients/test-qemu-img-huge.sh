#!/usr/bin/env bash
# A 5 TiB disk: QEMU speaks extended headers, so that one block status answer covers more than the
# 4 GiB that compact headers can say; and the far end can be written and read.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 5T disk.raw
serve --raw disk=disk.raw
qemu-img --trace nbd_send_request map --output=json -f raw "$(uri disk)" >map.json 2>trace
expect_equal $((5 << 40)) "$(jq 'map(.length) | add' map.json)"
((5 > $(grep -c block_status trace))) || fail "too many requests for one hole: $(cat trace)"
qemu-io -f raw -c 'write -P 7 5497557614592 512K' -c 'read -P 7 5497557614592 512K' \
    -c 'write -z -u -n 1T 3T' -c 'discard 4T 2047M' "$(uri disk)"
