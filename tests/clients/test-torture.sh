#!/usr/bin/env bash
# A server is killed under load again and again; what was flushed is there, also in a full store,
# and whatever happens to blocks on their way: packed, found again, encrypted.
set -euo pipefail
source "$CLIENTS/lib.sh"

torture="$(dirname "$CLIENTS")/../scripts/torture"
# survives ROUNDS ARGUMENT...
survives() {
    "$torture" --server "$BEDPLATE" --dir . --rounds "$@" || fail "something was lost: $*"
}
survives 20 --cipher aes-256-xts
survives 10 --full
survives 3 --dedup off --compress off
survives 3 --cipher aes-256-gcm --dedup verify --compress lz4
survives 3 --cipher aes-256-xts --dedup verify --compress zstd
