#!/usr/bin/env bash
# An export without space is an error of the writes that need some; what was written stays, and
# space that comes back is used. A server that stays away for longer than was asked for is an error.
set -euo pipefail
source "$CLIENTS/lib.sh"

nfs() {
    "$CLIENTS/../../scripts/nfs-server" "$@"
}
folder=$PWD/nfs
# A file system of its own, which is small.
small=$folder/export
mkdir -p "$small"
trap '[[ -z $server_pid ]] || stop; nfs kill "$folder"; umount "$small"' EXIT
mount -t tmpfs -o size=16m none "$small"
nfs start "$folder" 29300
disk="nfs://127.0.0.1:29300/export/raw?mountport=29301&timeout=5"
truncate -s 64M "$small/raw"
serve --raw "raw=$disk"
qemu-io -f raw -c 'write -P 1 0 8M' -c flush "$(uri raw)" | (! grep -i fail)
qemu-io -f raw -c 'write -P 2 8M 32M' "$(uri raw)" >full.log 2>&1 || true
grep -qi 'no space left' full.log || fail "a full export is not told: $(cat full.log)"
qemu-io -f raw -c 'read -P 1 0 8M' -c 'write -P 3 0 4M' -c flush "$(uri raw)" | (! grep -i fail)
mount -o remount,size=96m "$small"
qemu-io -f raw -c 'write -P 4 8M 32M' -c flush -c 'read -P 4 8M 32M' "$(uri raw)" |
    (! grep -i fail)

# The server does not come back in the time that was set: an error within a bounded time, and none
# that is taken back later.
nfs signal "$folder" STOP
began=$SECONDS
qemu-io -f raw -c 'write -P 5 0 64k' "$(uri raw)" >away.log 2>&1 || true
grep -qi 'timed out\|error' away.log || fail "a server that is away is not told: $(cat away.log)"
((SECONDS - began < 30)) || fail "it took $((SECONDS - began)) s"
nfs signal "$folder" CONT
qemu-io -f raw -c 'write -P 6 0 64k' "$(uri raw)" >after.log 2>&1 || true
grep -qi error after.log || fail "a disk that was given up is used again: $(cat after.log)"
kill -KILL "$server_pid"
wait "$server_pid" || true
server_pid=
serve --raw "raw=$disk"
qemu-io -f raw -c 'write -P 7 0 64k' -c flush "$(uri raw)" | (! grep -i fail)
