#!/usr/bin/env bash
# An address that cannot be listened on stops the server with one line that names it; a socket that
# a dead server left behind does not.
set -euo pipefail
source "$CLIENTS/lib.sh"

refuse 1 'no/such/folder' serve --raw disk=mem:1M --nbd unix:/no/such/folder/nbd.sock
serve --raw disk=mem:1M
refuse 1 'nbd\.sock.*in use' serve --raw disk=mem:1M --nbd "unix:$socket"
nbdinfo --size "$(uri disk)"
kill -KILL $server_pid
wait $server_pid 2>/dev/null || true
server_pid=
# The kernel lets go of a dead process's ring, and what it holds, a moment later.
for _ in {1..100}; do
    timeout 1 nbdinfo --size "$(uri disk)" >alive.txt 2>&1 || break
    sleep 0.05
done
[[ -S $socket ]] || fail "a killed server cannot have removed its socket"
serve --raw disk=mem:1M
nbdinfo --size "$(uri disk)"
