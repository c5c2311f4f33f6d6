#!/usr/bin/env bash
# An import or export that is interrupted leaves nothing behind; one that is killed leaves nothing
# that looks complete, and nothing that is in the way of the next.
set -euo pipefail
source "$CLIENTS/lib.sh"

on=(--store main=store.img)
names() {
    "$BEDPLATE" volume list "${on[@]}" --json | jq -r '.[].name' | paste -sd ' '
}
# begin ARGUMENT... starts a command that takes long, whose process is then $long_pid.
begin() {
    "$BEDPLATE" volume "$@" "${on[@]}" >long.out 2>long.err &
    long_pid=$!
    sleep 1
    kill -0 $long_pid || fail "it was over too soon: $(cat long.out long.err)"
}
# interrupted SIGNAL sends it, and demands a failure in one line.
interrupted() {
    local status=0
    kill "-$1" $long_pid
    wait $long_pid || status=$?
    expect_equal 1 $status
    grep -q interrupted long.err || fail "$(cat long.err)"
    expect_equal 1 "$(wc -l <long.err)"
}

"$BEDPLATE" store create store.img --size 256M --segment-size 1M
# Summing up eight tebibytes of zeroes takes many minutes.
truncate -s 8T huge.img
qemu-io -f raw -c 'write -P 7 0 1M' huge.img >/dev/null
for signal in INT TERM; do
    begin import main/huge huge.img
    interrupted $signal
    expect_equal '' "$(names)"
done
begin import main/huge huge.img
kill -KILL $long_pid
wait $long_pid || true
[[ $(names) == '' || $(names) == main/huge.importing ]] || fail "left behind: $(names)"
head -c 1M /dev/urandom >small.img
"$BEDPLATE" volume import main/huge small.img "${on[@]}"
expect_equal main/huge "$(names)"

"$BEDPLATE" volume create main/wide --size 8T "${on[@]}"
begin export main/wide wide.img
interrupted INT
expect_equal '' "$(find . -name 'wide.img*')"
begin export main/wide wide.img
kill -KILL $long_pid
wait $long_pid || true
[[ ! -e wide.img ]] || fail "an export that was killed looks complete"
"$BEDPLATE" volume export main/huge wide.img "${on[@]}"
cmp small.img wide.img
