#!/usr/bin/env bash
# With one disk in all, the empty name is it; with two, it is nobody.
set -euo pipefail
source "$CLIENTS/lib.sh"

serve --raw only=mem:3M
expect_equal $((3 << 20)) "$(nbdinfo --size "nbd+unix:///?socket=$socket")"
stop
serve --raw one=mem:1M --raw two=mem:2M
expect_fail . nbdinfo --size "nbd+unix:///?socket=$socket"
