#!/usr/bin/env bash
# QEMU reads a dirty bitmap as it reads its own: what is dirty it shows as not being data.
set -euo pipefail
source "$CLIENTS/lib.sh"

on=(--store main=store.img)
"$BEDPLATE" store create store.img --size 128M --segment-size 1M
"$BEDPLATE" volume create main/vm --size 16M "${on[@]}"
"$BEDPLATE" bitmap create main/vm:daily "${on[@]}"
serve "${on[@]}"
qemu-io -f raw -c 'write -P 5 1M 64k' -c 'write -P 6 9000000 1' "$(uri main/vm)"
options=driver=nbd,server.type=unix,server.path=$socket,export=main/vm
options+=,x-dirty-bitmap=qemu:dirty-bitmap:daily
qemu-img map --output=json --image-opts "$options" >map.json
dirty=$(jq -c '[.[] | select(.data | not) | [.start, .length]]' map.json)
expect_equal '[[1048576,65536],[8998912,4096]]' "$dirty"
stop
