#!/usr/bin/env bash
# Several devices at once: an xfs on each, under load side by side; data that is compared; and a
# volume that becomes larger.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv
modprobe xfs
said bedplate store create store.img --size 4G
for number in 1 2 3; do
    said bedplate volume create "main/vm$number" --size 400M --store main=store.img
done
serve --store main=store.img
for number in 1 2 3; do
    expect_equal "/dev/ublkb$number" "$(bedplate attach "main/vm$number" --device $number)"
    said mkfs.xfs -q -f "/dev/ublkb$number"
    mkdir -p "/run/vm$number"
    mount "/dev/ublkb$number" "/run/vm$number"
done
loads=()
for number in 1 2 3; do
    fio --name=load --filename="/run/vm$number/file" --size=24M --rw=randwrite --bs=4k-64k \
        --iodepth=8 --direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 \
        --randrepeat=0 >"fio$number.out" 2>&1 &
    loads+=($!)
    cp -r /usr/bin "/run/vm$number/"
done
for load in "${loads[@]}"; do
    wait "$load" || fail "the load failed: $(cat fio*.out)"
done
for number in 1 2 3; do
    umount "/run/vm$number"
    said xfs_repair -n "/dev/ublkb$number"
    mount "/dev/ublkb$number" "/run/vm$number"
    diff -r /usr/bin "/run/vm$number/bin"
    umount "/run/vm$number"
done
# All of it as a raw device, with requests of every size.
said fio --name=verify --filename=/dev/ublkb3 --rw=randwrite --bsrange=512-512k --bs_unaligned=0 \
    --blockalign=512 --size=32M --iodepth=32 --direct=1 --ioengine=libaio --verify=crc32c \
    --verify_fatal=1 --randrepeat=0
# A new size is seen by who has the device mounted, if the kernel can be told it (Linux 6.16);
# otherwise by who attaches it from then on.
mount /dev/ublkb1 /run/vm1
bedplate volume resize main/vm1 800M >resized.out
if [[ -s resized.out ]]; then
    expect_equal 6.16 "$(printf '%s\n' 6.16 "$(uname -r)" | sort -V | tail -n 1)"
    grep -q 'detach and attach' resized.out || fail "something else was said: $(cat resized.out)"
else
    expect_equal $((800 << 20)) "$(blockdev --getsize64 /dev/ublkb1)"
    said xfs_growfs /run/vm1
    (($(stat -f -c '%b * %S' /run/vm1) > 700 << 20)) || fail 'the file system has not grown'
    diff -r /usr/bin /run/vm1/bin
fi
umount /run/vm1
said bedplate detach 1
expect_equal /dev/ublkb1 "$(bedplate attach main/vm1 --device 1)"
expect_equal $((800 << 20)) "$(blockdev --getsize64 /dev/ublkb1)"
mount /dev/ublkb1 /run/vm1
diff -r /usr/bin /run/vm1/bin
umount /run/vm1
for number in 1 2 3; do
    said bedplate detach $number
done
stop
said bedplate store check store.img --data
