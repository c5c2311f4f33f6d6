#!/usr/bin/env bash
# What clients see of an NFS server in trouble is a slow disk, and nothing is lost; a server that
# was asleep for longer than its lease writes no more when it wakes.
set -euo pipefail
source "$CLIENTS/lib.sh"

nfs() {
    "$CLIENTS/../../scripts/nfs-server" "$@"
}
folder=$PWD/nfs
trap '[[ -z $server_pid ]] || stop; nfs kill "$folder"' EXIT
nfs start "$folder" 29200
at=nfs://127.0.0.1:29200/export
ports=mountport=29201
on="$at/main?$ports"
"$BEDPLATE" store create "$on" --size 512M
"$BEDPLATE" volume create main/v --size 64M --store "main=$on"
truncate -s 64M "$folder/export/raw"
serve --store "main=$on" --raw "raw=$at/raw?$ports"

# write EXPORT BYTE SECONDS has a client write and flush an export for so long, in the background.
write() {
    fio --name=x --ioengine=nbd --uri="$(uri "$1")" --rw=randwrite --bs=4k --iodepth=8 \
        --time_based --runtime="$3" --size=64m --verify=crc32c --do_verify=0 --fsync=32 \
        --buffer_pattern="$2" --output=fio.log &
    writer=$!
}

# The server stands still for a while.
write main/v 0x11 3
sleep 1
nfs signal "$folder" STOP
sleep 2
nfs signal "$folder" CONT
wait $writer || fail "an error after a pause: $(cat fio.log)"

# It is killed and started again in the middle of writes, and is then another instance, which may
# have forgotten what it had not committed.
for export in main/v raw; do
    write $export 0x22 4
    for _ in 1 2; do
        sleep 1
        nfs kill "$folder"
        nfs start "$folder" 29200
    done
    wait $writer || fail "an error after a crash: $(cat fio.log)"
done
grep -q 'the server has forgotten; sent again' server.err || fail "nothing was sent again"

# Writes that were answered and not flushed are there for whoever reads after a crash of it.
qemu-io -f raw -c 'write -P 7 0 8M' "$(uri raw)" >/dev/null
nfs kill "$folder"
nfs start "$folder" 29200
qemu-io -f raw -c 'read -P 7 0 8M' "$(uri raw)" | (! grep -i fail)

# The file of a raw disk is removed: an error, and no other disk is harmed.
rm "$folder/export/raw"
nfs kill "$folder"
nfs start "$folder" 29200
if qemu-io -f raw -c 'write -P 8 0 64k' -c flush "$(uri raw)" >gone.log 2>&1 &&
    ! grep -qi error gone.log; then
    fail "a file that is gone still takes writes: $(cat gone.log)"
fi
qemu-io -f raw -c 'write -P 9 0 64k' -c flush "$(uri main/v)" | (! grep -i fail)

# Another server takes over from one that stands still; when that one goes on, what it writes does
# not arrive.
old=$server_pid
kill -STOP "$old"
BEDPLATE_CONTROL=$PWD/second.control "$BEDPLATE" serve --nbd unix:second.sock \
    --store "main=$on" >second.out 2>second.log &
server_pid=$!
for _ in {1..400}; do
    ! grep -qs '^ready: ' second.out || break
    sleep 0.1
done
grep -q '^ready: ' second.out || fail "the lease is not taken over: $(cat second.log)"
second="nbd+unix:///main/v?socket=$PWD/second.sock"
qemu-io -f raw -c 'read -P 9 0 64k' -c 'write -P 2 0 64k' -c flush "$second" | (! grep -i fail)
kill -CONT "$old"
if qemu-io -f raw -c 'write -P 3 0 64k' -c flush "$(uri main/v)" >late.log 2>&1 &&
    ! grep -qi error late.log; then
    fail "the server that was replaced still promises: $(cat late.log)"
fi
grep -q 'another server has taken over the lease' server.err || fail "it does not say why"
qemu-io -f raw -c 'read -P 2 0 64k' "$second" | (! grep -i fail)
kill -KILL "$old"
stop
"$BEDPLATE" store check --data "$on"
