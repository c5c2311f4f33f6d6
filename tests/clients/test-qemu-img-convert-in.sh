#!/usr/bin/env bash
# qemu-img writes a disk full of real files into an export that holds other data; every byte is
# replaced, zeroes too.
set -euo pipefail
source "$CLIENTS/lib.sh"

real_disk files.raw
head -c 64M /dev/zero | tr '\0' x >disk.raw
serve --raw disk=disk.raw
qemu-img convert -n -f raw -O raw files.raw "$(uri disk)"
qemu-img compare -f raw -F raw files.raw "$(uri disk)"
stop
cmp files.raw disk.raw
