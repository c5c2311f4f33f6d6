#!/usr/bin/env bash
# A disk full of real files is copied out by qemu-img, to raw and to qcow2, equal to the last byte
# and with a file system that is whole.
set -euo pipefail
source "$CLIENTS/lib.sh"

real_disk disk.raw
serve --raw disk=disk.raw
qemu-img convert -f raw -O raw "$(uri disk)" copy.raw
cmp disk.raw copy.raw
e2fsck -fn copy.raw
qemu-img convert -f raw -O qcow2 "$(uri disk)" copy.qcow2
qemu-img compare -f raw -F qcow2 "$(uri disk)" copy.qcow2
