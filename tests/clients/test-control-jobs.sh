#!/usr/bin/env bash
# Files are imported into a store that is served, and exported from it, as a job that can be watched
# and cancelled. A job whose command is killed, or whose server stops, leaves nothing behind.
set -euo pipefail
source "$CLIENTS/lib.sh"

names() {
    "$BEDPLATE" volume list --json | jq -r '.[].name' | paste -sd ' '
}
# job FILTER prints what jq finds in the list of jobs.
job() {
    "$BEDPLATE" job list --json | jq -r "$1"
}
# begin ARGUMENT... starts a command that takes long, whose process is then $long_pid, and waits for
# its job.
begin() {
    "$BEDPLATE" volume "$@" >long.out 2>long.err &
    long_pid=$!
    for _ in {1..1000}; do
        [[ $(job '[.[] | select(.state == "running")] | length') == 1 ]] && return
        kill -0 $long_pid || fail "it was over too soon: $(cat long.out long.err)"
        sleep 0.02
    done
    fail "no job begins"
}
# over STATE waits until the last job is over, and demands how.
over() {
    for _ in {1..1000}; do
        [[ $(job '.[-1].state') != running ]] && break
        sleep 0.02
    done
    expect_equal "$1" "$(job '.[-1].state')"
}
# failed PATTERN waits for the long command, which must fail with one line that matches.
failed() {
    local status=0
    wait $long_pid || status=$?
    expect_equal 1 $status
    grep -qE "$1" long.err || fail "$(cat long.err)"
    expect_equal 1 "$(wc -l <long.err)"
}

"$BEDPLATE" store create store.img --size 512M --segment-size 1M
real_disk disk.img
qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
serve --store main=store.img

"$BEDPLATE" volume import main/disk disk.img --json >in.json
"$BEDPLATE" volume export main/disk out.img --json >out.json
cmp disk.img out.img
expect_equal "$(jq -c '[.size, .xxh128]' in.json)" "$(jq -c '[.size, .xxh128]' out.json)"
(($(stat -c %b out.img) <= $(stat -c %b disk.img) + 2048)) || fail "holes were filled"
qemu-img compare -f raw -F raw disk.img "$(uri main/disk)" >compare.txt || fail "$(cat compare.txt)"
"$BEDPLATE" volume import main/packed disk.qcow2 --compress zstd --json >packed.json
expect_equal "$(jq -r .xxh128 in.json)" "$(jq -r .xxh128 packed.json)"
"$BEDPLATE" snapshot create main/packed@a
"$BEDPLATE" volume export main/packed@a packed.qcow2
qemu-img compare -f qcow2 -F raw packed.qcow2 disk.img >compare.txt || fail "$(cat compare.txt)"
expect_equal '1 import done 2 export done 3 import done 4 export done' \
    "$(job '[.[] | "\(.id) \(.kind) \(.state)"] | join(" ")')"
expect_equal "xxh128:$(jq -r .xxh128 in.json)" "$("$BEDPLATE" job show 1 --json | jq -r .checksum)"
"$BEDPLATE" job show 2 | grep -qE '^done +64M \(100 %\)$' || fail "$("$BEDPLATE" job show 2)"

refuse 1 'main/disk: there is a.* disk already.*--force' volume import main/disk disk.img
refuse 1 'main/packed: it has snapshots' volume import main/packed disk.img --force
refuse 1 'main/x: there is no x' volume export main/x x.img
refuse 1 'job 99: there is no such job.*job list' job show 99
refuse 1 'job 1: it has ended already' job cancel 1
head -c 1M /dev/urandom >small.img
"$BEDPLATE" volume import main/disk small.img --force
expect_equal 1048576 "$(nbdinfo --size "$(uri main/disk)")"
expect_equal 'main/disk main/packed' "$(names)"

# Summing up eight tebibytes of zeroes takes many minutes.
truncate -s 8T huge.img
qemu-io -f raw -c 'write -P 7 0 1M' huge.img >/dev/null
begin import main/huge huge.img
id=$(job '.[-1].id')
[[ $(names) == *main/huge.importing* ]] || fail "there is only $(names)"
refuse 1 '1 job has it open' volume delete main/huge.importing
refuse 1 '1 job has it open' volume import main/huge small.img
refuse 1 'main: 1 job.* open' store close main --disconnect
"$BEDPLATE" job show "$id" | grep -qE '^state +running$'
"$BEDPLATE" job cancel "$id"
failed 'somebody cancelled it'
over cancelled
expect_equal 'main/disk main/packed' "$(names)"

for signal in INT TERM; do
    begin import main/huge huge.img
    kill "-$signal" $long_pid
    failed interrupted
    over cancelled
    expect_equal 'main/disk main/packed' "$(names)"
done
begin import main/huge huge.img
kill -KILL $long_pid
wait $long_pid || true
over failed
expect_equal 'its caller went away' "$(job '.[-1].error')"
expect_equal 'main/disk main/packed' "$(names)"

"$BEDPLATE" volume create main/wide --size 8T
begin export main/wide wide.img
refuse 1 'main/wide: 1 job has it open' volume delete main/wide
kill -KILL $long_pid
wait $long_pid || true
over failed
[[ ! -e wide.img ]] || fail "an export that was killed looks complete"
"$BEDPLATE" volume delete main/wide

# A server that stops ends its jobs, and what they had made goes away with them.
begin import main/huge huge.img
stop
failed 'cancelled|server'
expect_equal 'main/disk main/packed' \
    "$("$BEDPLATE" volume list --store main=store.img --json | jq -r '.[].name' | paste -sd ' ')"
# One that is killed leaves what its name says is not whole, and the next import replaces that.
serve --store main=store.img
begin import main/huge huge.img
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
server_pid=
failed 'server'
serve --store main=store.img
"$BEDPLATE" volume import main/huge small.img
expect_equal 'main/disk main/huge main/packed' "$(names)"
stop
"$BEDPLATE" store check store.img --data >/dev/null
