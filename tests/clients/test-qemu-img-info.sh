#!/usr/bin/env bash
# qemu-img info sees a raw disk of the right size through the server.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 123M disk.raw
serve --raw disk=file:disk.raw
qemu-img info --output=json "$(uri disk)" >info.json
expect_equal $((123 << 20)) "$(jq '."virtual-size"' info.json)"
expect_equal raw "$(jq -r .format info.json)"
