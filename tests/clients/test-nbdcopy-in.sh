#!/usr/bin/env bash
# nbdcopy copies a disk full of real files in over several connections, and --flush makes it last.
set -euo pipefail
source "$CLIENTS/lib.sh"

real_disk files.raw
head -c 64M /dev/zero | tr '\0' x >disk.raw
serve --raw disk=disk.raw
nbdcopy --flush --connections=4 --requests=64 files.raw "$(uri disk)"
cmp files.raw disk.raw
nbdcopy "$(uri disk)" - | cmp files.raw -
