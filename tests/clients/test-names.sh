#!/usr/bin/env bash
# Export names with slashes, spaces and letters beyond ASCII reach their disks.
set -euo pipefail
source "$CLIENTS/lib.sh"

serve --raw "store/volume=mem:1M" --raw "grüne Platte=mem:2M"
expect_equal 1048576 "$(nbdinfo --size "nbd+unix:///store/volume?socket=$socket")"
expect_equal 2097152 "$(nbdinfo --size "nbd+unix:///gr%C3%BCne%20Platte?socket=$socket")"
