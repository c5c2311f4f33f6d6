#!/usr/bin/env bash
# A raw file as /dev/ublkbN without copies, where the kernel lends the memory of requests: what is
# written is what is read, by the device, over NBD and in the file; dirty bitmaps and limits see it;
# a server that is killed or stopped under load loses nothing. On a kernel that lends nothing the
# same goes by copies, as what is encrypted or of a store does on every kernel.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv
lends=$(lends_memory)
device=/dev/ublkb0
mib=32

# use_device RW WORD... runs fio on the device.
use_device() {
    fio --name=x --filename=$device --rw="$1" --size=${mib}M --ioengine=io_uring --direct=1 \
        --iodepth=32 --verify=crc32c --verify_fatal=1 "${@:2}"
}

# same WHEN demands that the device, NBD and the file show the same.
same() {
    local sum
    sum=$(md5sum <raw.img)
    said blockdev --flushbufs $device
    [[ $(md5sum <$device) == "$sum" ]] || fail "$1: the file is not what the device shows"
    said nbdcopy "nbd+unix:///raw?socket=$socket" copy.img
    [[ $(md5sum <copy.img) == "$sum" ]] || fail "$1: the file is not what NBD shows"
}

# changed prints how much the bitmap says was written, in bytes.
changed() {
    nbdinfo --map=qemu:dirty-bitmap:backup --json "nbd+unix:///raw?socket=$socket" |
        jq '[.[] | select(.type == 1) | .length] | add // 0'
}

truncate -s ${mib}M raw.img sealed.img
head -c 64 /dev/urandom >key
# With a key that is quick to try: the processor is slow.
said cryptsetup luksFormat --batch-mode --type luks1 --pbkdf-force-iterations 1000 sealed.img key
said bedplate store create store.img --size 1G
said bedplate volume create main/v --size 64M --store main=store.img
cat >config.toml <<END
[raw.raw]
url = "raw.img"
bitmaps = "bitmaps"
[raw.sealed]
url = "sealed.img"
key_file = "key"
[store.main]
url = "store.img"
END
serve --config config.toml
expect_equal $device "$(bedplate attach raw)"
expect_equal $lends "$(is_zero_copy raw)"
for name in sealed main/v; do
    said bedplate attach "$name"
    expect_equal false "$(is_zero_copy "$name")"
done

# Requests of one sector to the largest, in memory aligned to a page or to less.
for size in 512-512 4k-4k 1M-1M 512-300k; do
    for align in 4096 512; do
        said use_device randrw --bsrange="$size" --mem_align=$align --io_size=4M --randrepeat=0
    done
done
same 'direct requests'
# By the page cache, in pieces and at once; and what moves no data.
head -c $((25 << 20)) /dev/urandom >noise
said dd if=noise of=$device bs=3000 seek=7 conv=fsync,notrunc
said blkdiscard --zeroout --offset 8M --length 9M $device
said blkdiscard --offset 20M --length 1M $device
same 'the page cache'

said bedplate bitmap create raw:backup
expect_equal 0 "$(changed)"
said use_device write --offset=16M --size=4M --bs=64k --do_verify=0
expect_equal $((4 << 20)) "$(changed)"
said bedplate qos set raw --iops 2000 --bps 200M
said use_device randrw --bs=4k --io_size=4M
said bedplate qos clear raw

# The oracle is fio's: it compares what it wrote, while servers come and go.
use_device randrw --bsrange=512-128k --loops=1000 --randrepeat=0 --verify_backlog=256 \
    --fsync=64 >fio.out 2>&1 &
load=$!
for ((round = 1; round <= ROUNDS; round++)); do
    sleep $((1 + round % 2))
    kill -0 $load || fail "the load ended: $(cat fio.out)"
    if ((round % 2)); then kill_server; else stop; fi
    serve --config config.toml
    expect_equal $lends "$(is_zero_copy raw)"
done
sleep 1
kill -0 $load || fail "the load failed: $(cat fio.out)"
# The job is the shell that runs it.
kill -INT $(pidof fio)
wait $load || true
! grep -iE 'verify|error=|err= *[1-9]' fio.out | grep -v 'err= 0' ||
    fail "the load saw an error: $(cat fio.out)"
same 'servers that came and went'
expect_equal $((mib << 20)) "$(changed)"
for number in 0 1 2; do
    said bedplate detach $number
done
stop
