#!/usr/bin/env bash
# fio writes random blocks with a checksum in each, and reads back every one of them as written.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 64M disk.raw
serve --raw disk=disk.raw
URI=$(uri disk) fio --output=fio.json --output-format=json "$CLIENTS/../../fio/verify.fio"
jq -e '.jobs[0] | .error == 0 and .read.total_ios > 1000' fio.json
