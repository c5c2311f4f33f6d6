#!/usr/bin/env bash
# Snapshots keep what was there, stand in the way of deleting their volume, and bring it back.
set -euo pipefail
source "$CLIENTS/lib.sh"

on=(--store main=store.img)
snapshot() {
    "$BEDPLATE" snapshot "$@" "${on[@]}"
}
volume() {
    "$BEDPLATE" volume "$@" "${on[@]}"
}
# sum NAME prints the checksum of a volume or snapshot.
sum() {
    volume export "main/$1" exported.img --force --json | jq -r .xxh128
}
names() {
    snapshot list "main/$1" --json | jq -r '.[].name' | paste -sd ' '
}

real_disk first.img
truncate -s 64M second.img
qemu-io -f raw -c 'write -P 7 5M 3M' second.img
"$BEDPLATE" store create store.img --size 512M --segment-size 1M
volume import main/vm1 first.img --json >import.json
first=$(jq -r .xxh128 import.json)
volume create main/vm2 --size 1M
snapshot create main/vm1@monday main/vm2@monday
expect_equal main/vm1@monday "$(names vm1)"
expect_equal main/vm2@monday "$(names vm2)"
snapshot list main/vm1 | grep -qE '^main/vm1@monday +64M +- +20[0-9-]+T[0-9:]+Z' ||
    fail "$(snapshot list main/vm1)"
expect_equal "$first" "$(sum vm1@monday)"

serve "${on[@]}"
qemu-img convert -n -f raw -O raw second.img "$(uri main/vm1)"
stop
second=$(sum vm1)
[[ $second != "$first" ]] || fail "the volume did not change"
cmp second.img exported.img
expect_equal "$first" "$(sum vm1@monday)"
cmp first.img exported.img
snapshot create main/vm1@tuesday
expect_equal "$second" "$(sum vm1@tuesday)"

volume clone main/vm1@monday old
expect_equal main/vm1@monday "$(volume show main/old --json | jq -r .origin)"
expect_equal "$first" "$(sum old)"
snapshot rollback main/vm1@monday
expect_equal "$first" "$(sum vm1)"
expect_equal 'main/vm1@monday main/vm1@tuesday' "$(names vm1)"
expect_equal 'main/vm1@monday main/vm1@tuesday' \
    "$(volume show main/vm1 --json | jq -r '.snapshots[].name' | paste -sd ' ')"

refuse 1 'main/vm1: .*snapshot' volume delete main/vm1 "${on[@]}"
refuse 1 'there is a.* vm1@monday already' snapshot create main/vm1@monday "${on[@]}"
# All or nothing.
refuse 1 'nobody' snapshot create main/vm2@new main/nobody@new "${on[@]}"
expect_equal main/vm2@monday "$(names vm2)"
refuse 1 'there is no vm1@friday' snapshot delete main/vm1@friday "${on[@]}"
refuse 1 'there is no vm1@friday' snapshot rollback main/vm1@friday "${on[@]}"
refuse 1 'there is no vm3' snapshot list main/vm3 "${on[@]}"
refuse 1 'not of the same store' snapshot create main/vm1@x other/vm1@x "${on[@]}"
refuse 1 'running server.*--store' snapshot list main/vm1
refuse 2 'name a snapshot' snapshot create main/vm1 "${on[@]}"
refuse 2 'name a volume' snapshot list main/vm1@monday "${on[@]}"
refuse 2 'required' snapshot create "${on[@]}"

volume rename main/vm1 vm9
expect_equal 'main/vm9@monday main/vm9@tuesday' "$(names vm9)"
snapshot delete main/vm9@monday
snapshot delete main/vm9@tuesday
expect_equal '' "$(names vm9)"
expect_equal "$first" "$(sum vm9)"
expect_equal "$first" "$(sum old)"
volume delete main/vm9
expect_equal "$first" "$(sum old)"
for command in create list delete rollback; do
    "$BEDPLATE" snapshot "$command" --help | grep -q '^Example' || fail "$command has no example"
done
