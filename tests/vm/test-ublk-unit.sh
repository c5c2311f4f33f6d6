#!/usr/bin/env bash
# What the package's drop-in for block devices leaves to the service is enough for them, and what
# the service has without it is not.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv

# as_unit FILE... has the server run with the capabilities that these files give the service.
as_unit() {
    local words
    words=$(sed -n 's/^CapabilityBoundingSet=//p' "$@" | tr 'A-Z ' 'a-z\n' | sed 's/^cap_/,+/')
    prefix=(setpriv --no-new-privs --bounding-set "-all${words//$'\n'/}")
}

said bedplate store create store.img --size 1G
said bedplate volume create main/vm1 --size 256M --store main=store.img
# Made as the service's own user would make it.
chown 997:997 store.img
chmod 600 store.img

as_unit /tests/bedplate.service /tests/ublk.conf
serve --store main=store.img
expect_equal 0000000000280402 "$(awk '$1 == "CapBnd:" { print $2 }' "/proc/$server_pid/status")"
device=$(bedplate attach main/vm1)
said mkfs.ext4 -q -F "$device"
mount "$device" /mnt
cp /usr/bin/fio /mnt/
expect_fail 'mounted at /mnt' bedplate detach "$device"
# Who has it open may be more than the service is.
sleep 100 7<>"$device" &
opener=$!
expect_fail "mounted at /mnt, and 1 more" bedplate detach "$device"
stop
serve --store main=store.img
cmp /usr/bin/fio /mnt/fio
umount /mnt
said e2fsck -fn "$device"
expect_fail "sleep has it open, process $opener;" bedplate detach "$device"
kill "$opener"
said bedplate detach "$device"
stop

# Only that one of root's is missing.
chown 0:0 store.img
as_unit /tests/bedplate.service
serve --store main=store.img
expect_fail 'CAP_SYS_ADMIN' bedplate attach main/vm1
stop
