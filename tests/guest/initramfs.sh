#!/bin/sh
# The first process of a guest, in busybox's shell: finds its disk, and goes on there.
set -eu
mount -t devtmpfs dev /dev
mount -t proc proc /proc
modprobe virtio_blk
until [ -b /dev/vda ]; do
    sleep 0.1
done
mount -t ext4 /dev/vda /mnt || poweroff -n -f
mount --move /dev /mnt/dev
mount --move /proc /mnt/proc
exec switch_root /mnt /sbin/init
