#!/usr/bin/env bash
# nbdinfo --map sees the holes of the file, and --totals adds them up.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 8M disk.raw
head -c 1M /dev/urandom | dd of=disk.raw bs=1M seek=4 conv=notrunc status=none
serve --raw disk=disk.raw
nbdinfo --map --json "$(uri disk)" >map.json
expect_equal "0 4194304 3
4194304 1048576 0
5242880 3145728 3" "$(jq -r '.[] | "\(.offset) \(.length) \(.type)"' map.json)"
nbdinfo --map --totals --json "$(uri disk)" >totals.json
expect_equal 1048576 "$(jq 'map(select(.type == 0))[0].size' totals.json)"
