#!/usr/bin/env bash
# What clients see of a target in trouble is a slow disk, and nothing is lost; who has lost a disk
# to another server can write no more.
set -euo pipefail
source "$CLIENTS/lib.sh"

target=$PWD/target
iscsi() {
    "$CLIENTS/../../scripts/iscsi-target" "$@"
}
trap '[[ -z $server_pid ]] || stop; iscsi kill "$target"' EXIT
iscsi start "$target" 28200
on=iscsi://127.0.0.1:28200/iqn.2026-01.bedplate:disk/1
other=iscsi://127.0.0.1:28200/iqn.2026-01.bedplate:disk/2
"$BEDPLATE" store create "$on"
"$BEDPLATE" volume create main/v --size 64M --store "main=$on"
serve --store "main=$on" --raw "raw=$other"

# write EXPORT SECONDS has a client write and flush for so long at depth 32, in the background,
# and read all of it again.
write() {
    fio --name=x --ioengine=nbd --uri="$(uri "$1")" --rw=randwrite --bs=4k --iodepth=32 \
        --time_based --runtime="$2" --size=64m --verify=crc32c --fsync=64 \
        --output="fio-${1%%/*}.log" &
    writers+=($!)
}

# finish WORD... waits for both, which must not have had an error.
finish() {
    local writer
    for writer in "${writers[@]}"; do
        wait "$writer" || fail "an error after $*: $(cat fio-*.log)"
    done
    writers=()
}
writers=()

# The target stands still for a while.
write main/v 4
write raw 4
sleep 1
iscsi signal "$target" STOP
sleep 2
iscsi signal "$target" CONT
finish a pause

# It dies, twice, and comes back.
write main/v 8
write raw 8
for _ in 1 2; do
    sleep 2
    iscsi kill "$target"
    sleep 0.5
    iscsi start "$target"
done
finish a crash

# Another server takes over from one that stands still; when that one goes on, what it writes does
# not arrive.
qemu-io -f raw -c 'write -P 1 0 64k' -c flush "$(uri main/v)" >/dev/null
qemu-io -f raw -c 'write -P 1 0 64k' -c flush "$(uri raw)" >/dev/null
old=$server_pid
kill -STOP "$old"
cp server.err old.err
start second --nbd unix:second.sock --store "main=$on" --raw "raw=$other"
second="nbd+unix:///main/v?socket=$PWD/second.sock"
second_raw="nbd+unix:///raw?socket=$PWD/second.sock"
for disk in "$second" "$second_raw"; do
    qemu-io -f raw -c 'read -P 1 0 64k' -c 'write -P 2 0 64k' -c flush "$disk" | (! grep -i fail)
done
kill -CONT "$old"
for disk in "$(uri main/v)" "$(uri raw)"; do
    if qemu-io -f raw -c 'write -P 3 0 64k' -c flush "$disk" >late.log 2>&1 &&
        ! grep -qi error late.log; then
        fail "the server that was replaced still promises: $(cat late.log)"
    fi
done
for disk in "$second" "$second_raw"; do
    qemu-io -f raw -c 'read -P 2 0 64k' "$disk" | (! grep -i fail)
done
kill -KILL "$old"
stop
"$BEDPLATE" store check --data "$on"
