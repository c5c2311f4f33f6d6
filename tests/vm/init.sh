#!/bin/bash
# The first process of the machine of scripts/vm-test: runs every test that it finds in /tests, each
# in a folder of its own on the disk, and turns the machine off.
export PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
ip link set lo up
seconds_max=600

finish() {
    echo "vm-test: status $1"
    sync
    poweroff -f
}

modprobe virtio_blk
mkfs.ext4 -q -F -E nodiscard /dev/vda && mount /dev/vda /data || finish 124
echo "vm-test: Linux $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
source /tests/settings
export ROUNDS
failed=0
for test in /tests/test-*.sh; do
    name=$(basename "$test" .sh)
    name=${name#test-}
    mkdir -p "/data/$name"
    began=$(cut -d. -f1 /proc/uptime)
    if (cd "/data/$name" && timeout -k 5 $seconds_max bash "$test") </dev/null; then
        verdict=ok
    else
        verdict=FAILED
        failed=1
        dmesg | tail -n 15
    fi
    echo "vm-test: $name $(($(cut -d. -f1 /proc/uptime) - began)) s $verdict"
    # What a failed test left running is not the next one's.
    cd /
    [[ $verdict == ok ]] && rm -rf "/data/$name"
done
# Whatever the tests noticed: nothing of this may be said.
if dmesg | grep -E 'BUG|Oops|blocked for more than|I/O error'; then
    failed=1
fi
finish $failed
