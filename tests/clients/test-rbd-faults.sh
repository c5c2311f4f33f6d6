#!/usr/bin/env bash
# What clients see of a Ceph cluster in trouble is a slow disk, and nothing is lost; who has lost an
# image to another server can write no more.
set -euo pipefail
source "$CLIENTS/lib.sh"

cluster=$(mktemp -d /tmp/bp-ceph.XXXXXX)
ceph() {
    "$CLIENTS/../../scripts/ceph" "$@"
}
trap '[[ -z $server_pid ]] || stop; ceph kill "$cluster"; rm -r "$cluster"' EXIT
ceph start "$cluster" 27200
export CEPH_CONF=$cluster/ceph.conf
"$BEDPLATE" store create rbd:rbd/main --size 512M
"$BEDPLATE" volume create main/v --size 64M --store main=rbd:rbd/main
serve --store main=rbd:rbd/main

# write BYTE SECONDS has a client write and flush the volume for so long, in the background.
write() {
    fio --name=x --ioengine=nbd --uri="$(uri main/v)" --rw=randwrite --bs=4k --iodepth=8 \
        --time_based --runtime="$2" --size=64m --verify=crc32c --do_verify=0 --fsync=32 \
        --buffer_pattern="$1" --output=fio.log &
    writer=$!
}

# The monitor stands still; who is connected does not need it.
ceph signal "$cluster" mon STOP
write 0x33 1
wait $writer || fail "an error without a monitor: $(cat fio.log)"
ceph signal "$cluster" mon CONT

# The OSD stands still for a while.
write 0x11 10
sleep 1
ceph signal "$cluster" osd STOP
sleep 8
ceph signal "$cluster" osd CONT
wait $writer || fail "an error after a pause: $(cat fio.log)"

# It dies, and another takes its place.
write 0x22 5
sleep 1
ceph signal "$cluster" osd KILL
sleep 1
ceph osd "$cluster"
wait $writer || fail "an error after a crash: $(cat fio.log)"

# Another server takes over from one that stands still; when that one goes on, what it writes does
# not arrive.
qemu-io -f raw -c 'write -P 1 0 64k' -c flush "$(uri main/v)" >/dev/null
old=$server_pid
kill -STOP "$old"
cp server.err old.err
start second --nbd unix:second.sock --store main=rbd:rbd/main
second="nbd+unix:///main/v?socket=$PWD/second.sock"
qemu-io -f raw -c 'read -P 1 0 64k' -c 'write -P 2 0 64k' -c flush "$second" | (! grep -i fail)
kill -CONT "$old"
if qemu-io -f raw -c 'write -P 3 0 64k' -c flush "$(uri main/v)" >late.log 2>&1 &&
    ! grep -qi error late.log; then
    fail "the server that was replaced still promises: $(cat late.log)"
fi
qemu-io -f raw -c 'read -P 2 0 64k' "$second" | (! grep -i fail)
kill -KILL "$old"
stop
"$BEDPLATE" store check --data rbd:rbd/main
