#!/usr/bin/env bash
# Raw files and devices of every kind as block devices: what is written is what is read, and what is
# in the file. Where the kernel lends the memory of requests, it is lent on to those that say what
# they want aligned: ext4, xfs, loop devices and dm-crypt, but not to FUSE, and not to memory. The
# sectors of a device stay what they are.
set -euo pipefail
source /tests/lib.sh
modprobe -a ublk_drv loop dm-crypt xts xfs
lends=$(lends_memory)
mib=16

mkdir real fuse memory xfs
bindfs real fuse || fail 'no FUSE'
mount -t tmpfs none memory
truncate -s 400M xfs.img
said mkfs.xfs -q xfs.img
mount -o loop xfs.img xfs
truncate -s ${mib}M real/disk.img memory/disk.img xfs/disk.img ext4.img loop.img crypt.img wide.img
losetup --sector-size 4096 /dev/loop5 wide.img
losetup /dev/loop6 loop.img
losetup /dev/loop7 crypt.img
head -c 64 /dev/urandom >key
said cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file key \
    /dev/loop7 crypt

serve --raw fuse="$PWD/fuse/disk.img" --raw memory="$PWD/memory/disk.img" \
    --raw xfs="$PWD/xfs/disk.img" --raw ext4="$PWD/ext4.img" --raw loop=/dev/loop6 \
    --raw crypt=/dev/mapper/crypt --raw wide=/dev/loop5

# check NAME PLACE ZERO-COPY [SECTOR]
check() {
    local device sum sector=${4:-512}
    device=$(bedplate attach "$1")
    expect_equal "$1 $3" "$1 $(is_zero_copy "$1")"
    expect_equal "$1 $sector" "$1 $(blockdev --getss "$device")"
    said fio --name=x --filename="$device" --rw=randrw --size=${mib}M --ioengine=io_uring \
        --direct=1 --iodepth=16 --verify=crc32c --verify_fatal=1 --bsrange="$sector-256k" \
        --io_size=4M --mem_align="$sector" --end_fsync=1 --randrepeat=0
    said blockdev --flushbufs "$device"
    echo 3 >/proc/sys/vm/drop_caches
    sum=$(md5sum <"$device")
    [[ $(md5sum <"$2") == "$sum" ]] || fail "$1: what is in it is not what the device shows"
    said bedplate detach "$device"
}

check fuse fuse/disk.img false
check memory memory/disk.img false
check xfs xfs/disk.img $lends
check ext4 ext4.img $lends
check loop /dev/loop6 $lends
check crypt /dev/mapper/crypt $lends
check wide /dev/loop5 $lends 4096
stop
umount fuse memory xfs
said cryptsetup close crypt
losetup -d /dev/loop5
losetup -d /dev/loop6
losetup -d /dev/loop7
