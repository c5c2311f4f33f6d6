#!/usr/bin/env bash
# While the server has a file open, qemu refuses to write it behind the server's back.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 1M disk.raw
serve --raw disk=disk.raw
expect_fail 'lock' qemu-io -f raw -c 'write 0 4K' disk.raw
stop
qemu-io -f raw -c 'write 0 4K' disk.raw
