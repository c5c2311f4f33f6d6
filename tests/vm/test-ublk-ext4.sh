#!/usr/bin/env bash
# A volume as /dev/ublkbN: described rightly, and an ext4 on it survives; what fstrim tells is given
# back to the store; a snapshot is read-only; what is in use is not detached.
set -euo pipefail
source /tests/lib.sh
said bedplate store create store.img --size 3G
said bedplate volume create main/vm1 --size 1G --store main=store.img
serve --store main=store.img
expect_fail 'no ublk driver.*modprobe ublk_drv' bedplate attach main/vm1
modprobe ublk_drv
expect_fail 'no volume or snapshot' bedplate attach main/vm2
expect_equal /dev/ublkb0 "$(bedplate attach main/vm1)"
expect_fail 'attached already, as /dev/ublkb0' bedplate attach main/vm1
expect_equal 1073741824 "$(blockdev --getsize64 /dev/ublkb0)"
queue=/sys/block/ublkb0/queue
expect_equal '512 4096 4096 write back 1' "$(cat $queue/logical_block_size \
    $queue/physical_block_size $queue/discard_granularity $queue/write_cache $queue/fua |
    tr '\n' ' ' | sed 's/ $//')"
expect_equal '/dev/ublkb0 main/vm1 false' "$(bedplate status --json |
    jq -r '.devices[] | "\(.device) \(.volume) \(.read_only)"')"

said mkfs.ext4 -q -F /dev/ublkb0
mount /dev/ublkb0 /mnt
cp -r /usr/bin /mnt/
umount /mnt
said e2fsck -fn /dev/ublkb0
mount /dev/ublkb0 /mnt
diff -r /usr/bin /mnt/bin
expect_fail 'mounted at /mnt; unmount' bedplate detach /dev/ublkb0
expect_fail '1 block device has it open' bedplate volume delete main/vm1
expect_fail '1 block device has it open' bedplate store close main --disconnect

# A snapshot of a mounted file system is what a power loss would leave.
sync
said bedplate snapshot create main/vm1@now
expect_equal /dev/ublkb5 "$(bedplate attach main/vm1@now --device 5 --queues 1 --depth 8)"
expect_equal 1 "$(cat /sys/block/ublkb5/ro)"
said bedplate volume create main/vm2 --size 1M
expect_fail 'File exists.*another number' bedplate attach main/vm2 --device 5
mkdir -p /run/snapshot
mount -o ro,noload /dev/ublkb5 /run/snapshot
diff -r /usr/bin /run/snapshot/bin
umount /run/snapshot
said bedplate detach /dev/ublkb5
said bedplate snapshot delete main/vm1@now

# What a file had that is gone is free again.
allocated() {
    nbdinfo --map --json "nbd+unix:///main/vm1?socket=$socket" |
        jq '[.[] | select(.type == 0) | .length] | add'
}
head -c $((64 << 20)) /dev/urandom >/mnt/noise
sync
before=$(allocated)
rm /mnt/noise
sync
said fstrim /mnt
after=$(allocated)
((before - after > 60 << 20)) || fail "fstrim gave back $((before - after)) bytes of 64 MiB"
umount /mnt
modprobe loop
losetup /dev/loop0 /dev/ublkb0
expect_fail 'in use by loop0' bedplate detach 0
losetup -d /dev/loop0
exec {descriptor}<>/dev/ublkb0
expect_fail 'bash has it open, process [0-9]+' bedplate detach 0
# What has it open for a moment only is waited for.
sleep 1 &
exec {descriptor}>&-
said bedplate detach 0
[[ ! -e /dev/ublkb0 ]] || fail 'the device is still there'
expect_fail 'No such device' bedplate detach 0
stop
said bedplate store check store.img --data
