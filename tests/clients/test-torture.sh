#!/usr/bin/env bash
# A server is killed under load again and again; what was flushed is there, also in a full store.
set -euo pipefail
source "$CLIENTS/lib.sh"

torture="$(dirname "$CLIENTS")/../scripts/torture"
"$torture" --rounds 20 --server "$BEDPLATE" --dir . || fail "something was lost"
"$torture" --rounds 10 --server "$BEDPLATE" --dir . --full || fail "a full store lost something"
