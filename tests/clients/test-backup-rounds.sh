#!/usr/bin/env bash
# A volume is backed up incrementally while its server is killed again and again: nothing is missed.
set -euo pipefail
source "$CLIENTS/lib.sh"

rounds="$(dirname "$CLIENTS")/../scripts/backup-rounds"
"$rounds" --rounds 5 --server "$BEDPLATE" --dir . || fail "the backup missed something"
