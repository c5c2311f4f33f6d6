#!/usr/bin/env bash
# A qcow2 image on top of an export: QEMU's own metadata, with its small and unaligned requests,
# its flushes and its discards, stays consistent.
set -euo pipefail
source "$CLIENTS/lib.sh"

real_disk files.raw
truncate -s 128M disk.raw
serve --raw disk=disk.raw
qemu-img create -q -f qcow2 "$(uri disk)" 64M
qemu-img convert -n -f raw -O qcow2 files.raw "$(uri disk)"
qemu-io -f qcow2 -c 'discard 1M 7M' -c 'write -P 9 5000 70000' -c flush "$(uri disk)"
qemu-img check -f qcow2 "$(uri disk)"
qemu-io -f qcow2 -c 'read -P 9 5000 70000' "$(uri disk)"
