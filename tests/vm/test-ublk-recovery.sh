#!/usr/bin/env bash
# The server is killed under a mounted, loaded file system, ROUNDS times: what is asked of the
# device waits, the next server takes it back by itself, nothing fails, and what was synced is
# there.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv
said bedplate store create store.img --size 3G
said bedplate volume create main/vm1 --size 512M --store main=store.img
serve --store main=store.img
expect_equal /dev/ublkb0 "$(bedplate attach main/vm1 --depth 32)"
said mkfs.ext4 -q -F /dev/ublkb0
mount -o errors=remount-ro /dev/ublkb0 /mnt
for ((round = 1; round <= ROUNDS; round++)); do
    # It writes, reads back and compares; an error of any request ends it. More requests than the
    # device has places for, so that all of them are busy when the server dies.
    fio --name=load --directory=/mnt --rw=randrw --bs=4k-32k --size=24M --iodepth=48 \
        --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=256 \
        --loops=1000 --randrepeat=0 --fsync=64 >fio.out 2>&1 &
    load=$!
    sleep $((1 + round % 3))
    head -c $((1 << 20)) /dev/urandom >noise
    cp noise "/mnt/synced-$((round % 20))"
    sync "/mnt/synced-$((round % 20))"
    sum=$(md5sum <noise)
    kill -0 $load || fail "the load ended: $(cat fio.out)"
    kill -KILL $server_pid
    wait $server_pid 2>/dev/null || true
    # What is written now waits.
    echo "round $round" >"/mnt/waiting-$round" &
    sleep 0.$((round % 10))
    began=$(milliseconds)
    serve --store main=store.img
    expect_equal '/dev/ublkb0 main/vm1' "$(bedplate status --json |
        jq -r '.devices[] | "\(.device) \(.volume)"')"
    sync /mnt
    echo "round $round: taken back within $(($(milliseconds) - began)) ms"
    sleep 1
    kill -0 $load || fail "the load failed: $(cat fio.out)"
    kill -INT $load
    wait $load || true
    ! grep -iE 'verify|error=|err= *[1-9]' fio.out | grep -v 'err= 0' ||
        fail "the load saw an error: $(cat fio.out)"
    echo 3 >/proc/sys/vm/drop_caches
    expect_equal "$sum" "$(md5sum <"/mnt/synced-$((round % 20))")"
    expect_equal "round $round" "$(cat "/mnt/waiting-$round")"
    rm -f /mnt/load.*
done
umount /mnt
said e2fsck -fn /dev/ublkb0
said bedplate detach /dev/ublkb0
stop
said bedplate store check store.img --data
