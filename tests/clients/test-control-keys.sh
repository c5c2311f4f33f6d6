#!/usr/bin/env bash
# What opens a store is added, listed, replaced and removed while the store is served, also by
# several at once, and counts when it is opened the next time.
set -euo pipefail
source "$CLIENTS/lib.sh"

key() {
    "$BEDPLATE" key "$@"
}
slots() {
    key list main --json | jq -c '[.keys[].label]'
}

for name in first second third 1 2 3 4 5; do
    head -c 32 /dev/urandom >$name.key
done
echo 'open sesame' >words
"$BEDPLATE" store create store.img --size 256M --segment-size 1M --key-file first.key \
    --cipher aes-256-xts
serve --store main=store.img --key-file main=first.key --raw 'legacy=mem:1M'
first=(--key-file main=first.key)

expect_equal '["aes-256-xts","key file"]' \
    "$(key list main --json | jq -c '[.cipher, .keys[].kind]')"
expect_equal 'added as key 1' \
    "$(key add main "${first[@]}" --new-passphrase-file words --label people)"
refuse 1 'main: .*no key slot opens' key add main --key-file main=second.key \
    --new-key-file third.key
refuse 1 'main: no key was named' key add main --new-key-file second.key
refuse 1 'nothing: no store of this name is open' \
    key add nothing --key-file nothing=first.key --new-key-file second.key
refuse 1 'main: .*32' key add main "${first[@]}" --new-key-file words
expect_equal '["first","people"]' "$(slots)"

# None of several that are added at once is lost.
for name in 1 2 3 4 5; do
    key add main "${first[@]}" --new-key-file $name.key --label "n$name" >/dev/null &
    adding+=($!)
done
for pid in "${adding[@]}"; do
    wait "$pid" || fail "a key was not added"
done
expect_equal '["n1","n2","n3","n4","n5"]' "$(slots | jq -c '.[2:] | sort')"
expect_equal 'added as key 7' \
    "$(key rotate main --key-file main=5.key --new-key-file second.key --label newer)"
numbered='.keys[] | select(.label | test("^n[0-9]$")) | .slot'
for slot in $(key list main --json | jq "$numbered"); do
    key remove main "$slot" "${first[@]}"
done
expect_equal '["first","people","newer"]' "$(slots)"
refuse 1 'main: a store that is served is not deleted; close it' key remove main --all "${first[@]}"
refuse 1 'main: .*slot 6' key remove main 6 "${first[@]}"
key rotate main "${first[@]}" --new-key-file third.key --label newest >/dev/null
expect_equal '["people","newest","newer"]' "$(slots)"

# It goes on, and opens with what is left.
qemu-io -f raw -c 'write -P 7 0 1M' "$(uri legacy)" >/dev/null
stop
grep -q 'sesame' server.err && fail "the log tells a secret"
refuse 1 'no key slot opens' store info store.img --key-file first.key
refuse 1 'no key slot opens' store info store.img --key-file 5.key
for name in second third; do
    "$BEDPLATE" store info store.img --key-file $name.key >/dev/null
done
"$BEDPLATE" store info store.img --passphrase-file words >/dev/null
