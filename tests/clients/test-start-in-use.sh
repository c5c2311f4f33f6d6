#!/usr/bin/env bash
# A file that another server has open is refused, and free again when that server has gone.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 1M disk.raw
serve --raw disk=disk.raw
refuse 1 'disk\.raw.*in use' serve --raw disk=disk.raw --nbd "unix:$PWD/second.sock"
stop
qemu-nbd -f raw -t -k "$PWD/qemu.sock" disk.raw &
qemu=$!
# It listens before it opens the file, so its socket alone says nothing.
until nbdinfo --size "nbd+unix:///?socket=$PWD/qemu.sock" >qemu.size 2>&1; do sleep 0.01; done
refuse 1 'disk\.raw.*in use' serve --raw disk=disk.raw --nbd "unix:$socket"
kill $qemu
wait $qemu || true
serve --raw disk=disk.raw
