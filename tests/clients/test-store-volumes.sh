#!/usr/bin/env bash
# Volumes are made, listed, shown, grown, renamed, cloned, set and deleted; what cannot be done is
# one line that says why.
set -euo pipefail
source "$CLIENTS/lib.sh"

volume() {
    "$BEDPLATE" volume "$@" --store main=store.img
}
refused() {
    refuse 1 "$1" volume "${@:2}" --store main=store.img
}
names() {
    volume list --json | jq -r '.[].name' | paste -sd ' '
}

"$BEDPLATE" store create store.img --size 256M --segment-size 1M
expect_equal '[]' "$(volume list --json)"
volume create main/vm1 --size 100M
volume create main/a.b-c+d --size 4608 --write-through
expect_equal 'main/a.b-c+d main/vm1' "$(names)"
expect_equal 'main/a.b-c+d main/vm1' "$(volume list main --json | jq -r '.[].name' | paste -sd ' ')"
volume list >table.txt
grep -qE '^NAME +SIZE +HOLDS +CREATED +ORIGIN$' table.txt || fail "$(cat table.txt)"
grep -qE '^main/vm1 +100M +- +20[0-9-]+T[0-9:]+Z +-$' table.txt || fail "$(cat table.txt)"
created=$(volume show main/vm1 --json | jq -r .created)
age=$(($(date +%s) - $(date -d "$created" +%s)))
((age >= 0 && age < 60)) || fail "made $age s ago, as it says: $created"

refused 'main/vm1: there is a.* vm1 already' create main/vm1 --size 1M
refused 'main/nobody: there is no nobody.*volume list' show main/nobody
refused 'main/nobody: there is no nobody' delete main/nobody
refused 'main/nobody: there is no nobody' resize main/nobody 1G
refused 'main/nobody: there is no nobody' rename main/nobody somebody
refused 'main/nobody: there is no nobody' clone main/nobody somebody
refused 'main/nobody: there is no nobody' set main/nobody write-through=on
refuse 1 'other: no --store is called so' volume show other/vm1 --store main=store.img
refuse 1 'running server.*--store' volume list
refuse 1 'running server.*--store' volume show main/vm1
refuse 1 'missing\.img' volume list --store main=missing.img
refuse 2 'STORE/VOL' volume create vm2 --size 1M --store main=store.img
refuse 2 'is a snapshot' volume create main/vm2@x --size 1M --store main=store.img
refuse 2 'letters, digits' volume create 'main/v m' --size 1M --store main=store.img
refuse 2 'dash or a dot' volume create main/.vm --size 1M --store main=store.img
refuse 2 'multiple of 512' volume create main/vm2 --size 1000 --store main=store.img
refuse 2 'size' volume create main/vm2 --store main=store.img
refuse 2 'NAME=URL' volume list --store store.img
refuse 2 'write-through' volume set main/vm1 colour=red --store main=store.img
refuse 2 'neither on nor off' volume set main/vm1 write-through=maybe --store main=store.img

volume resize main/vm1 200M
expect_equal 209715200 "$(volume show main/vm1 --json | jq .size)"
refused 'main/vm1: ' resize main/vm1 100M
expect_equal 209715200 "$(volume show main/vm1 --json | jq .size)"

expect_equal 'false true' "$(for name in vm1 a.b-c+d; do
    volume show "main/$name" --json | jq .write_through
done | paste -sd ' ')"
volume set main/vm1 write-through=on
volume set main/a.b-c+d write-through=off
volume show main/vm1 | grep -qE '^write-through +on$'
volume show main/a.b-c+d | grep -qE '^write-through +off$'

volume rename main/vm1 vm2
refused 'main/a\.b-c\+d: there is a.* vm2 already' rename main/a.b-c+d vm2
volume clone main/vm2 copy
expect_equal main/vm2 "$(volume show main/copy --json | jq -r .origin)"
refused 'there is a.* copy already' clone main/vm2 copy
expect_equal 'main/a.b-c+d main/copy main/vm2' "$(names)"
volume delete main/vm2
expect_equal null "$(volume show main/copy --json | jq -r .origin)"
volume delete main/a.b-c+d
expect_equal main/copy "$(names)"

for command in create list show resize delete rename clone set import export; do
    "$BEDPLATE" volume "$command" --help | grep -q '^Example' || fail "$command has no example"
done
