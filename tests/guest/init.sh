#!/bin/sh
# What runs on the disk of a guest, in busybox's shell: does what is typed at its console, line by
# line, and says where the answer to each begins and how it ended.
set -u
export PATH=/usr/sbin:/usr/bin HOME=/
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
echo "guest: ready after $(cut -d" " -f1 /proc/uptime) s"
number=0
while IFS= read -r line; do
    number=$((number + 1))
    echo "guest: $number begins"
    eval "$line" </dev/null
    echo "guest: $number ended $?"
done
