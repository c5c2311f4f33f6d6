#!/usr/bin/env bash
# A full pool is an error of a raw disk's writes that need room, told at once; a store waits for
# room. What was written stays and is written over, and room that comes back is used.
set -euo pipefail
source "$CLIENTS/lib.sh"

cluster=$(mktemp -d /tmp/bp-ceph.XXXXXX)
end() {
    [[ -z $server_pid ]] || kill -KILL "$server_pid"
    "$CLIENTS/../../scripts/ceph" kill "$cluster"
    rm -r "$cluster"
}
trap end EXIT
CEPH_OSD_BYTES=$((1 << 30)) "$CLIENTS/../../scripts/ceph" start "$cluster" 27300
export CEPH_CONF=$cluster/ceph.conf

# full RATIO sets from where on the cluster counts as full.
full() {
    ceph osd set-full-ratio "$1" >/dev/null 2>&1
}

# await_full yes|no
await_full() {
    local _
    for _ in {1..600}; do
        if ceph osd dump | grep -q "^pool 1 'rbd' .*[ ,]full"; then
            [[ $1 == no ]] || return 0
        else
            [[ $1 == yes ]] || return 0
        fi
        sleep 0.1
    done
    fail "the cluster does not become full: $1; $(ceph osd dump | grep ^osd)"
}

rbd create --size 512M rbd/raw
"$BEDPLATE" store create rbd:rbd/main --size 512M
"$BEDPLATE" volume create main/v --size 256M --store main=rbd:rbd/main
serve --raw raw=rbd:rbd/raw --store main=rbd:rbd/main
qemu-io -f raw -c 'write -P 1 0 64M' -c flush "$(uri raw)" | (! grep -i fail)
qemu-io -f raw -c 'write -P 1 0 64M' -c flush "$(uri main/v)" | (! grep -i fail)
ceph osd set-nearfull-ratio 0.01 2>/dev/null
ceph osd set-backfillfull-ratio 0.02 2>/dev/null
full 0.03
await_full yes
began=$SECONDS
fio --name=x --ioengine=nbd --uri="$(uri raw)" --rw=write --bs=256k --iodepth=8 --offset=64m \
    --size=128m --refill_buffers --end_fsync=1 >full.log 2>&1 &&
    fail "a full pool is not told: $(cat full.log)"
grep -qi 'no space left' full.log || fail "it is told as something else: $(cat full.log)"
((SECONDS - began < 30)) || fail "it took $((SECONDS - began)) s"
# What needs no room is done.
qemu-io -f raw -c 'write -P 2 0 4M' -c flush -c 'discard 8M 4M' -c 'read -P 2 0 4M' \
    "$(uri raw)" | (! grep -i fail)

# A store has promised what it has in memory, so it waits for somebody who makes room, and its
# clients with it.
fio --name=x --ioengine=nbd --uri="$(uri main/v)" --rw=write --bs=256k --iodepth=8 --offset=64m \
    --size=128m --refill_buffers --end_fsync=1 >store.log 2>&1 &
writer=$!
for _ in {1..300}; do
    ! grep -q 'no space left; writes wait' server.err || break
    sleep 0.1
done
grep -q 'no space left; writes wait' server.err || fail "nobody is told: $(cat server.err)"
kill -0 $writer 2>/dev/null || fail "a client does not wait: $(cat store.log)"
qemu-io -r -f raw -c 'read -P 1 0 64M' "$(uri main/v)" | (! grep -i fail)
full 0.95
wait $writer || fail "an error, though there was room in the end: $(cat store.log)"
await_full no
for export in raw main/v; do
    qemu-io -f raw -c 'write -P 3 64M 64M' -c flush -c 'read -P 3 64M 64M' "$(uri $export)" |
        (! grep -i fail)
done

# Stopping does not wait for room, and what was flushed is there afterwards.
full 0.03
await_full yes
began=$SECONDS
kill -TERM "$server_pid"
wait "$server_pid" || true
server_pid=
((SECONDS - began < 60)) || fail "it took $((SECONDS - began)) s to stop"
full 0.95
await_full no
serve --store main=rbd:rbd/main
qemu-io -f raw -c 'read -P 1 0 64M' -c 'read -P 3 64M 64M' "$(uri main/v)" | (! grep -i fail)
stop
"$BEDPLATE" store check --data rbd:rbd/main
