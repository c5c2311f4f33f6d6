#!/usr/bin/env bash
# A server with nothing to serve, or nowhere to listen, or two disks of one name, says so; one that
# cannot listen leaves its stores as they were.
set -euo pipefail
source "$CLIENTS/lib.sh"

refuse 1 'export' serve --nbd "unix:$socket"
refuse 1 'listen' serve --raw disk=mem:1M
refuse 1 'two exports' serve --raw disk=mem:1M --raw disk=mem:2M --nbd "unix:$socket"
refuse 1 'nobody' serve --raw disk=mem:1M --read-only nobody --nbd "unix:$socket"
"$BEDPLATE" store create store.img --size 256M
"$BEDPLATE" volume create main/vm1 --size 1M --store main=store.img
refuse 1 'listen' serve --store main=store.img
refuse 1 'two stores' serve --store main=store.img --store main=other.img --nbd "unix:$socket"
refuse 1 'store\.img: in use' serve --store main=store.img --store b=store.img --nbd "unix:$socket"
refuse 1 'main/vm1: an export of the store main may have the same name' \
    serve --store main=store.img --raw main/vm1=mem:1M --nbd "unix:$socket"
refuse 1 'cannot listen' serve --store main=store.img --nbd unix:/no/such/folder/nbd.sock
"$BEDPLATE" volume list --store main=store.img | grep -q '^main/vm1 '
