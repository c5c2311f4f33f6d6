#!/usr/bin/env bash
# The kernel's NBD client, with several connections to one volume: a file system on it survives.
set -euo pipefail
source /tests/lib.sh
modprobe nbd max_part=0
said bedplate store create store.img --size 2G
said bedplate volume create main/vm1 --size 1G --store main=store.img
serve --store main=store.img
said nbd-client -unix "$socket" /dev/nbd0 -N main/vm1 -b 4096 -C 4
expect_equal 1073741824 "$(blockdev --getsize64 /dev/nbd0)"
said fio --name=verify --filename=/dev/nbd0 --rw=randwrite --bs=4k-64k --size=24M --iodepth=16 \
    --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --randrepeat=0
said mkfs.ext4 -q -F /dev/nbd0
mount /dev/nbd0 /mnt
cp -r /usr/bin /mnt/
umount /mnt
said e2fsck -fn /dev/nbd0
mount /dev/nbd0 /mnt
diff -r /usr/bin /mnt/bin
umount /mnt
nbd-client -d /dev/nbd0
stop
said bedplate store check store.img --data
