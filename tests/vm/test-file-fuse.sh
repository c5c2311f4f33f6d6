#!/usr/bin/env bash
# Files on a file system that another process serves (FUSE): a raw disk and a store on one, of which
# nothing is lost when the server is killed; a second server is refused as everywhere.
set -euo pipefail
source /tests/lib.sh
mkdir real shown
bindfs real shown || fail 'no FUSE'
truncate -s 64M shown/raw.img
said bedplate store create shown/store.img --size 1G
said bedplate volume create main/v --size 64M --store main=shown/store.img
serve --raw raw=shown/raw.img --store main=shown/store.img
expect_fail 'in use' bedplate serve --nbd "unix:$PWD/second.sock" --raw raw=shown/raw.img
for export in raw main/v; do
    said use $export randwrite 0+32M --do_verify=0 --randseed=7 --end_fsync=1
done
kill_server
serve --raw raw=shown/raw.img --store main=shown/store.img
for export in raw main/v; do
    said use $export randwrite 0+32M --verify_only --randseed=7
done
stop
said bedplate store check shown/store.img --data
umount shown
