#!/usr/bin/env bash
# Stores are opened and closed while the server runs: their exports come and go, and nothing that
# was written is lost.
set -euo pipefail
source "$CLIENTS/lib.sh"

store() {
    "$BEDPLATE" store "$@"
}
exports() {
    nbdinfo --list --json "nbd+unix:///?socket=$socket" |
        jq -r '.exports[]."export-name"' | paste -sd ' '
}
names() {
    store list --json | jq -r '.[].name' | paste -sd ' '
}

head -c 64 /dev/urandom >key
store create one.img --size 128M --segment-size 1M
store create two.img --size 128M --segment-size 1M --key-file key
"$BEDPLATE" volume create one/a --size 10M --store one=one.img
"$BEDPLATE" volume create two/b --size 10M --store two=two.img --key-file two=key
serve --store one=one.img
expect_equal one/a "$(exports)"

refuse 1 'two\.img: .*key' store open two=two.img
refuse 1 'one: .*already' store open one=two.img --key-file key
refuse 1 'one\.img: in use' store open again=one.img
refuse 1 'missing\.img' store open three=missing.img
refuse 1 'no-key' store open two=two.img --key-file no-key
refuse 1 'nobody: no store of this name is open' store close nobody
expect_equal one "$(names)"
store open two=two.img --key-file key
expect_equal 'one two' "$(names)"
expect_equal 'one/a two/b' "$(exports)"
store show two | grep -qE '^url +file:/.*two\.img$' || fail "$(store show two)"
expect_equal 1 "$(store show two --json | jq .volumes)"
refuse 1 'two\.img: in use' store info two.img --key-file key
"$BEDPLATE" stats two --json | jq -e '.[0].clients == 0' >/dev/null
qemu-io -f raw -c 'write -P 5 0 1M' "$(uri two/b)" >/dev/null
"$BEDPLATE" stats two --json | jq -e '.[0].clients == 1048576' >/dev/null

# What collection counts: the same mebibyte twice is in the store once.
expect_equal null "$(store show two --json | jq -c .counted)"
qemu-io -f raw -c 'write -P 5 4M 1M' "$(uri two/b)" >/dev/null
store collect two | grep -qE '^pass 1: .*free$' || fail "$(store collect two)"
expect_equal '[2097152,true,false]' "$(
    store collect two --passes 1 --json |
        jq -c '.counted | [.mapped, .dedup_ratio > 2, .is_estimate]'
)"
expect_equal 2097152 "$("$BEDPLATE" volume show two/b --json | jq .mapped)"
"$BEDPLATE" volume show two/b >show.txt
grep -qE '^holds +2M mapped, ' show.txt || fail "$(cat show.txt)"
refuse 1 'nobody: no store of this name is open' store collect nobody

# A store that somebody uses stays open, unless its clients are to go.
/usr/bin/python3 -c 'import nbd, sys, time
client = nbd.NBD()
client.set_export_name("two/b")
client.connect_unix(sys.argv[1])
time.sleep(600)' "$socket" &
client=$!
for _ in {1..500}; do
    [[ $(store show two --json | jq .connections) == 1 ]] && break
    sleep 0.02
done
refuse 1 'two: 1 connection has it open.*status' store close two
expect_equal 'one/a two/b' "$(exports)"
expect_equal '1 connections were closed' "$(store close two --disconnect)"
kill $client 2>/dev/null || true
wait $client 2>/dev/null || true
expect_equal one/a "$(exports)"
expect_equal one "$(names)"
"$BEDPLATE" volume list --store two=two.img --key-file two=key | grep -q two/b
store open two=two.img --key-file key
qemu-io -f raw -c 'read -P 5 0 1M' "$(uri two/b)" >/dev/null
store close two
store close one
expect_equal '' "$(exports)"
"$BEDPLATE" status | grep -qE '^health +good$' || fail "$("$BEDPLATE" status)"
stop
store check one.img --data >/dev/null
store check two.img --data --key-file key >/dev/null
