#!/usr/bin/env bash
# Two unix sockets and a TCP port serve the same fifty disks.
set -euo pipefail
source "$CLIENTS/lib.sh"

arguments=()
for number in {1..50}; do
    arguments+=(--raw "disk$number=mem:${number}M")
done
port=$((20000 + $$ % 20000))
serve --nbd "unix:$PWD/second.sock" --nbd "127.0.0.1:$port" "${arguments[@]}"
nbdsize() { nbdinfo --size "$1"; }
expect_equal $((7 << 20)) "$(nbdsize "$(uri disk7)")"
expect_equal $((50 << 20)) "$(nbdsize "nbd+unix:///disk50?socket=$PWD/second.sock")"
expect_equal $((31 << 20)) "$(nbdsize "nbd://127.0.0.1:$port/disk31")"
qemu-io -f raw -c 'write -P 5 0 1M' "nbd://127.0.0.1:$port/disk3"
qemu-io -f raw -c 'read -P 5 0 1M' "$(uri disk3)"
nbdinfo --list --json "nbd+unix:///?socket=$PWD/second.sock" >list.json
expect_equal 50 "$(jq '.exports | length' list.json)"
expect_fail 'unknown|not (found|present)|no .*export|could not' nbdinfo "$(uri disk51)"
