#!/usr/bin/env bash
# An incremental backup with nothing but QEMU's own tools, as the README tells people: what the
# dirty bitmap of a snapshot names is read into a qcow2 file above the full backup.
set -euo pipefail
source "$CLIENTS/lib.sh"

# copy_changes SNAPSHOT BITMAP FILE reads into an empty qcow2 file what the bitmap calls changed.
copy_changes() {
    local options=driver=nbd,server.type=unix,server.path=$socket,export=$1
    qemu-img create -q -f qcow2 -b "$(uri "$1")" -F raw "$3"
    # QEMU shows as not being data what is dirty.
    qemu-img map --output=json --image-opts "$options,x-dirty-bitmap=qemu:dirty-bitmap:$2" |
        jq -r '.[] | select(.data | not) | "read \(.start) \(.length)"' >reads
    # What is read from beneath stays in the file.
    qemu-io -C -f qcow2 "$3" <reads >read.out
    ! grep -i 'failed' read.out || fail "not everything was read"
}

# compare FILE SNAPSHOT
compare() {
    qemu-img compare -f qcow2 -F raw "$1" "$(uri "$2")" >compare.out || fail "$(cat compare.out)"
}

real_disk disk.raw
"$BEDPLATE" store create store.img --size 512M
serve --store main=store.img
"$BEDPLATE" volume import main/vm disk.raw >/dev/null
"$BEDPLATE" snapshot create main/vm@monday --bitmap monday
qemu-img convert -f raw -O qcow2 "$(uri main/vm@monday)" monday.qcow2
compare monday.qcow2 main/vm@monday

previous=monday
for day in tuesday wednesday; do
    # A few small changes, a large one, and some that make holes.
    qemu-io -f raw -d unmap -c "write -P ${#day} 5M 300k" -c "write -P ${#day} 33333333 1" \
        -c 'discard 20M 1M' -c "write -z ${#day}M 64k" "$(uri main/vm)" >/dev/null
    "$BEDPLATE" snapshot create "main/vm@$day" --bitmap $day
    # The guest goes on.
    qemu-io -f raw -c 'write -P 9 40M 1M' "$(uri main/vm)" >/dev/null
    copy_changes main/vm@$day $previous $day.qcow2
    qemu-img rebase -u -f qcow2 -F qcow2 -b $previous.qcow2 $day.qcow2
    compare $day.qcow2 main/vm@$day
    # No more than what changed, in clusters of 64 KiB.
    (($(stat -c %s $day.qcow2) < 4 << 20)) || fail "$day is a full backup"
    previous=$day
done
# The days before are still what they were.
compare monday.qcow2 main/vm@monday
compare tuesday.qcow2 main/vm@tuesday
stop
