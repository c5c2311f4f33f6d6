#!/usr/bin/env bash
# Limits are set, shown and lifted while clients are at work, and what is wrong with one is said.
set -euo pipefail
source "$CLIENTS/lib.sh"

qos() {
    "$BEDPLATE" qos "$@"
}
# load EXPORT REQUESTS writes 4 KiB so often, 32 at a time.
load() {
    "$BEDPLATE" bench "$(uri "$1")" --op write --block 4k --depth 32 --seconds 1 >/dev/null
}

"$BEDPLATE" store create store.img --size 256M --segment-size 1M
"$BEDPLATE" volume create main/vm1 --size 64M --store main=store.img
"$BEDPLATE" volume create main/vm2 --size 64M --store main=store.img
serve --store main=store.img --raw 'legacy=mem:16M'

expect_equal '{"exports":[],"groups":[]}' "$(qos show --json)"
qos set main/vm1 --iops 100 --burst-iops 200 --burst-seconds 1 --bps 1M >set.txt
grep -qE '^limits +iops 100 \(200 for 1 s\), bps 1M$' set.txt || fail "$(cat set.txt)"
expect_equal '{"bps":1048576,"burst_iops":200,"burst_seconds":1,"iops":100}' \
    "$(qos show main/vm1 --json | jq -cS .limits)"
load main/vm1
waited=$(qos show main/vm1 --json | jq .waited)
((waited > 0)) || fail "nothing waited"
# What is not named is not limited any more, also by those who are connected.
qos set main/vm1 --group gold 2>err.txt && fail "a group that is not there"
grep -q "gold: there is no such group; see 'bedplate qos show'" err.txt || fail "$(cat err.txt)"
qos set --group gold --write-iops 150 >/dev/null
qos set main/vm1 --group gold >/dev/null
qos set legacy --group gold --read-bps 10M >/dev/null
expect_equal '["legacy","main/vm1"]' "$(qos show --json | jq -c '.groups[0].exports')"
expect_equal '{}' "$(qos show main/vm1 --json | jq -c .limits)"
load main/vm1
waited=$(qos show --json | jq '.groups[0].waited')
((waited > 0)) || fail "the group did not wait"
qos show >show.txt
grep -qE '^gold +write_iops 150 +legacy main/vm1 +[0-9]+ requests' show.txt ||
    fail "$(cat show.txt)"

# Limits follow a volume to its new name, and stay where a volume is replaced.
"$BEDPLATE" volume rename main/vm1 vm3
expect_equal '["legacy","main/vm3"]' "$(qos show --json | jq -c '.groups[0].exports')"
head -c 1M /dev/urandom >image
"$BEDPLATE" volume import main/vm3 image --force
expect_equal '"gold"' "$(qos show main/vm3 --json | jq -c .group)"

refuse 1 'gold: legacy shares it; lift its limits' qos clear --group gold
qos clear main/vm3
qos clear legacy
qos clear legacy
qos clear --group gold
refuse 1 'gold: there is no such group' qos clear --group gold
expect_equal '{"exports":[],"groups":[]}' "$(qos show --json)"

refuse 1 'main/nothing: there is no such export' qos set main/nothing --iops 1
refuse 1 'main/nothing: there is no such export' qos show main/nothing
refuse 1 'main/nothing: there is no such export' qos clear main/nothing
refuse 1 'main/vm2: iops: 0 would let nothing through' qos set main/vm2 --iops 0
refuse 1 'main/vm2: burst_iops: 5 is less than iops, 10' \
    qos set main/vm2 --iops 10 --burst-iops 5 --burst-seconds 1
refuse 1 'burst_bps: there is no bps that it would exceed' \
    qos set main/vm2 --iops 10 --burst-bps 5M --burst-seconds 1
refuse 2 'burst-seconds' qos set main/vm2 --iops 10 --burst-iops 50
refuse 2 'required' qos set main/vm2
refuse 2 'required' qos set
expect_equal '{}' "$(qos show main/vm2 --json | jq -c .limits)"
stop
refuse 1 'there is no running server' qos show

for command in set show clear; do
    qos $command --help | grep -q '^Example' || fail "qos $command has no example"
done
