#!/usr/bin/env bash
# qemu-img map sees the holes of the file where they are, and the data where it is.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 8M disk.raw
head -c 1M /dev/urandom | dd of=disk.raw bs=1M seek=2 conv=notrunc status=none
head -c 64K /dev/urandom | dd of=disk.raw bs=64K seek=100 conv=notrunc status=none
serve --raw disk=disk.raw
qemu-img map --output=json -f raw "$(uri disk)" >map.json
map=$(jq -r '.[] | "\(.start) \(.length) \(.data) \(.zero)"' map.json)
expect_equal "0 2097152 false true
2097152 1048576 true false
3145728 3407872 false true
6553600 65536 true false
6619136 1769472 false true" "$map"
