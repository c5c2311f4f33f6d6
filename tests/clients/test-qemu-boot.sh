#!/usr/bin/env bash
# A guest boots from a volume and works on it; a snapshot that is taken meanwhile has what was
# synced before and nothing of what came after, and a clone of it boots beside the guest. When the
# server is killed, both go on with the next one.
set -euo pipefail
source "$CLIENTS/lib.sh"
source "$CLIENTS/guest.sh"

# boot_volume GUEST VOLUME
boot_volume() {
    local options=driver=nbd,node-name=vda,server.type=unix,server.path=$socket,export=$2
    boot "$1" -blockdev "$options,discard=unmap,reconnect-delay=300" \
        -device virtio-blk-pci,drive=vda
}

# check_disk VOLUME demands that its file system is in good order.
check_disk() {
    "$BEDPLATE" volume export "$1" exported.img --force >/dev/null
    e2fsck -fn exported.img >e2fsck.out 2>&1 || fail "$1: $(cat e2fsck.out)"
}

make_guest
"$BEDPLATE" store create store.img --size 512M
serve --store main=store.img
"$BEDPLATE" volume import main/vm1 guest.img >/dev/null

boot_volume first main/vm1
on first 'mount -o remount,rw / && head -c 4194304 /dev/urandom >/synced && sync'
sum=$(on first 'md5sum </synced')
on first 'mount -o remount,ro / && echo 3 >/proc/sys/vm/drop_caches && mount -o remount,rw /'
expect_equal "$sum" "$(on first 'md5sum </synced')"

# It goes on writing while the snapshot is taken.
on first 'while :; do head -c 1048576 /dev/urandom >/busy; sync; done & load=$!'
"$BEDPLATE" snapshot create main/vm1@running
on first 'kill $load; echo later >/after; rm /synced; sync'

"$BEDPLATE" volume clone main/vm1@running vm2
boot_volume second main/vm2
expect_equal "$sum" "$(on second 'md5sum </synced')"
expect_fail 'no such file' on second 'cat /after'
on second 'echo mine >/own; sync'
expect_fail 'no such file' on first 'cat /own'
expect_equal later "$(on first 'cat /after')"

# Nothing that is written must be lost from here on: the guests do not notice.
"$BEDPLATE" volume set main/vm1 write-through=on
"$BEDPLATE" volume set main/vm2 write-through=on
for guest in first second; do
    on $guest 'while :; do head -c 300000 /dev/urandom >/busy; sync; done & load=$!'
    on $guest 'head -c 2000000 /dev/urandom >/kept; md5sum </kept >/kept.sum'
done
kill -KILL "$server_pid"
wait "$server_pid" || true
serve --store main=store.img
for guest in first second; do
    on $guest 'kill $load; sync; echo 3 >/proc/sys/vm/drop_caches'
    expect_equal "$(on $guest 'cat /kept.sum')" "$(on $guest 'md5sum </kept')"
done
power_off second
power_off first
check_disk main/vm1
check_disk main/vm2
stop
"$BEDPLATE" store check store.img --data >/dev/null
