#!/usr/bin/env bash
# A server that is stopped in good order leaves its devices to the next, as in a planned upgrade.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv
said bedplate store create store.img --size 2G
said bedplate volume create main/vm1 --size 256M --store main=store.img
said bedplate volume create main/vm2 --size 256M --store main=store.img
truncate -s 64M raw.img
cat >config.toml <<'END'
attach = ["main/vm1", "disk"]
[store.main]
url = "store.img"
[raw.disk]
url = "raw.img"
END
serve --config config.toml
expect_equal 'main/vm1 disk' "$(bedplate status --json | jq -r '[.devices[].volume] | join(" ")')"
vm1=$(bedplate status --json | jq -r '.devices[] | select(.volume == "main/vm1") | .device')
vm2=$(bedplate attach main/vm2)
said mkfs.ext4 -q -F "$vm1"
mount "$vm1" /mnt
cp /usr/bin/fio /mnt/
fio --name=load --filename=/mnt/file --size=32M --rw=randrw --bs=4k --iodepth=8 --direct=1 \
    --ioengine=libaio --verify=crc32c --verify_fatal=1 --loops=1000 --randrepeat=0 >fio.out 2>&1 &
load=$!
for name in new-name vm2; do
    sleep 1
    # A device follows its volume, whatever that is called.
    said bedplate volume rename "main/$([[ $name == vm2 ]] && echo new-name || echo vm2)" "$name"
    began=$(milliseconds)
    stop
    serve --config config.toml
    echo "a restart took $(($(milliseconds) - began)) ms"
    expect_equal "$vm2" "$(bedplate status --json |
        jq -r ".devices[] | select(.volume == \"main/$name\") | .device")"
done
sleep 1
kill -0 $load || fail "the load failed: $(cat fio.out)"
kill -INT $load
wait $load || true
cmp /usr/bin/fio /mnt/fio
umount /mnt
said e2fsck -fn "$vm1"
# Without its volume a device waits, and a server that has not the volume can remove it.
said bedplate detach "$vm1"
stop
serve --raw disk=raw.img
expect_equal disk "$(bedplate status --json | jq -r '[.devices[].volume] | join(" ")')"
said bedplate detach "$vm2"
said bedplate detach "$(bedplate status --json | jq -r '.devices[].device')"
expect_equal 0 "$(find /dev -name 'ublk[bc]*' | wc -l)"
stop
