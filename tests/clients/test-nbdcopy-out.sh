#!/usr/bin/env bash
# nbdcopy copies a disk full of real files out over several connections, equal to the last byte.
set -euo pipefail
source "$CLIENTS/lib.sh"

real_disk disk.raw
serve --raw disk=disk.raw
nbdcopy --connections=4 --requests=64 "$(uri disk)" copy.raw
cmp disk.raw copy.raw
nbdcopy --no-extents --synchronous "$(uri disk)" - | cmp disk.raw -
e2fsck -fn copy.raw
