#!/usr/bin/env bash
# What every machine of these scripts mounts first. To be sourced, not run.
set -euo pipefail
mount -t proc proc /proc
mount -t sysfs sys /sys
# A kernel may have done it by itself.
[[ -c /dev/null ]] || mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
