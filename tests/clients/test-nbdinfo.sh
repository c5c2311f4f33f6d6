#!/usr/bin/env bash
# nbdinfo sees what the export can do: its size, block sizes, and every feature of the protocol.
set -euo pipefail
source "$CLIENTS/lib.sh"

truncate -s 32M disk.raw
serve --raw disk=disk.raw
expect_equal $((32 << 20)) "$(nbdinfo --size "$(uri disk)")"
nbdinfo --json "$(uri disk)" >info.json
jq -e '.protocol == "newstyle-fixed" and .structured' info.json
jq -e '.exports[0] | .can_cache and .can_df and .can_flush and .can_fua and .can_multi_conn
    and .can_trim and .can_zero and (.is_read_only | not)' info.json
jq -e '.exports[0].contexts == ["base:allocation"]' info.json
jq -e '.exports[0] | ."block_size_minimum" == 1 and ."block_size_maximum" == 33554432' info.json
nbdinfo "$(uri disk)" >info.txt
grep -q 'export="disk"' info.txt
