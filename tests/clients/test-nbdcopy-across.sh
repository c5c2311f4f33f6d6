#!/usr/bin/env bash
# nbdcopy copies from one export of the server to another over several connections each, and what
# one connection wrote another reads, because multi-conn is promised.
set -euo pipefail
source "$CLIENTS/lib.sh"

head -c 100M /dev/urandom >one.raw
serve --raw one=one.raw --raw two=mem:100M
for _ in 1 2 3; do
    nbdcopy --connections=4 --requests=32 "$(uri one)" "$(uri two)"
    nbdcopy --connections=4 --requests=32 "$(uri two)" - | cmp one.raw -
done
