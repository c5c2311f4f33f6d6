#!/usr/bin/env bash
# Volumes and snapshots are made, shown and changed while their store is served, and exports follow
# at once; the same words print the same as they do without a server.
set -euo pipefail
source "$CLIENTS/lib.sh"

volume() {
    "$BEDPLATE" volume "$@"
}
snapshot() {
    "$BEDPLATE" snapshot "$@"
}
exports() {
    nbdinfo --list --json "nbd+unix:///?socket=$socket" |
        jq -r '.exports[]."export-name"' | paste -sd ' '
}
size_of() {
    nbdinfo --size "$(uri "$1")"
}

"$BEDPLATE" store create store.img --size 256M --segment-size 1M
serve --store main=store.img
expect_equal '[]' "$(volume list --json)"
volume create main/vm1 --size 100M
expect_equal main/vm1 "$(exports)"
expect_equal 104857600 "$(size_of main/vm1)"
# With one volume in all, the empty name is it.
expect_equal 104857600 "$(nbdinfo --size "$(uri '')")"
qemu-io -f raw -c 'write -P 7 0 1M' -c flush "$(uri main/vm1)" >/dev/null
volume create main/vm2 --size 1G --compress zstd --dedup verify --write-through
expect_equal 'main/vm1 main/vm2' "$(exports)"
volume show main/vm2 >show.txt
for line in 'compress +zstd' 'dedup +verify' 'write-through +on' 'connections +0'; do
    grep -qE "^$line$" show.txt || fail "no '$line': $(cat show.txt)"
done

snapshot create main/vm1@a main/vm2@a
expect_equal 'main/vm1 main/vm1@a main/vm2 main/vm2@a' "$(exports)"
expect_equal '["main/vm1@a"]' "$(snapshot list main/vm1 --json | jq -c 'map(.name)')"
qemu-io -f raw -c 'write -P 9 0 1M' "$(uri main/vm1)" >/dev/null
qemu-io -r -f raw -c 'read -P 7 0 1M' "$(uri main/vm1@a)" >/dev/null
# None of several is taken where one cannot be.
refuse 1 'main/vm1@b main/nobody@b: there is no nobody' snapshot create main/vm1@b main/nobody@b
expect_equal 'main/vm1 main/vm1@a main/vm2 main/vm2@a' "$(exports)"

snapshot rollback main/vm1@a
qemu-io -f raw -c 'read -P 7 0 1M' "$(uri main/vm1)" >/dev/null
volume clone main/vm1@a copy
qemu-io -f raw -c 'read -P 7 0 1M' "$(uri main/copy)" >/dev/null
expect_equal main/vm1@a "$(volume show main/copy --json | jq -r .origin)"
volume rename main/vm2 other
expect_equal 'main/copy main/other main/other@a main/vm1 main/vm1@a' "$(exports)"
volume resize main/copy 200M
expect_equal 209715200 "$(size_of main/copy)"
volume set main/copy compress=off dedup=off write-through=on
expect_equal '["off","off",true]' \
    "$(volume show main/copy --json | jq -c '[.compression, .dedup, .write_through]')"
volume set main/copy compress=lz4
expect_equal '["lz4","off",true]' \
    "$(volume show main/copy --json | jq -c '[.compression, .dedup, .write_through]')"

refuse 1 'main/vm1: there is a.* vm1 already' volume create main/vm1 --size 1M
refuse 1 'main/nobody: there is no nobody.*volume list' volume show main/nobody
refuse 1 'main/vm1: .*1 snapshots.*snapshot list' volume delete main/vm1
refuse 1 'main/copy: .*does not shrink' volume resize main/copy 1M
refuse 1 'other: no store of this name is open.*store open' volume show other/vm1
refuse 1 'main/vm1@z: there is no vm1@z' snapshot rollback main/vm1@z
snapshot delete main/vm1@a
volume delete main/vm1
snapshot delete main/other@a
volume delete main/other
expect_equal main/copy "$(exports)"

# What a server prints and what a command prints that opens the store itself are the same.
volume list --json >live.json
volume show main/copy --json >>live.json
volume list >>live.json
stop
volume list --json --store main=store.img >offline.json
volume show main/copy --json --store main=store.img >>offline.json
volume list --store main=store.img >>offline.json
cmp live.json offline.json
refuse 1 'server\.control: there is no running server.*serve.*--store' volume list
refuse 1 'server\.control: there is no running server' status

for command in status stats 'job list' 'job show' 'job cancel' 'store list' 'store show' \
    'store open' 'store close'; do
    # shellcheck disable=SC2086
    "$BEDPLATE" $command --help | grep -q '^Example' || fail "$command has no example"
done
