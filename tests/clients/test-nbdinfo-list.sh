#!/usr/bin/env bash
# nbdinfo --list, and nbd-client's older list, name every export.
set -euo pipefail
source "$CLIENTS/lib.sh"

serve --raw one=mem:1M --raw two=mem:2M --raw three=null:3M
nbdinfo --list --json "nbd+unix:///?socket=$socket" >list.json
expect_equal "one 1048576
three 3145728
two 2097152" "$(jq -r '.exports[] | "\(."export-name") \(."export-size")"' list.json | sort)"
nbd-client -l -unix "$socket" >list.txt
expect_equal "one three two" "$(grep -oE '^(one|two|three)' list.txt | sort | xargs)"
