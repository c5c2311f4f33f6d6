#!/usr/bin/env bash
# A store is made where there was nothing, told about and grown; whatever else is there is left
# alone unless somebody insists.
set -euo pipefail
source "$CLIENTS/lib.sh"

info() {
    "$BEDPLATE" store info store.img --json | jq -r "$1"
}

refuse 1 'store\.img: there is no such file.*--size' store create store.img
[[ ! -e store.img ]] || fail "a file was made without a size"
"$BEDPLATE" store create store.img --size 256M --segment-size 1M
expect_equal 268435456 "$(stat -c %s store.img)"
(($(stat -c %b store.img) < 8192)) || fail "a new store takes $(stat -c %b store.img) sectors"
expect_equal "[268435456,1048576,0,0]" \
    "$(info "[.size, .segment_size, .volumes, .snapshots] | tojson")"
(($(info .free) > 200 << 20)) || fail "a new store is full: $(info .)"
"$BEDPLATE" store info store.img >info.txt
grep -q '^size  *256M$' info.txt || fail "$(cat info.txt)"

refuse 1 'store\.img: there is data.*--force' store create store.img
"$BEDPLATE" volume create main/gone --size 1M --store main=store.img
"$BEDPLATE" store create store.img --force
expect_equal 0 "$(info .volumes)"

mke2fs -q -t ext4 other.img 16M
cp other.img before.img
refuse 1 'other\.img: there is data' store create other.img
refuse 1 'other\.img: there is no store.*store create' store info other.img
refuse 1 'other\.img: there is no store' store grow other.img 32M
refuse 1 'other\.img: there is no store' serve --store x=other.img --nbd "unix:$socket"
cmp other.img before.img
refuse 1 'missing\.img' store info missing.img
refuse 1 'tiny\.img' store create tiny.img --size 1M
[[ ! -e tiny.img ]] || fail "what could not become a store was left behind"
refuse 1 'mem:64M' store create mem:64M
refuse 2 'power of two' store create new.img --size 1G --segment-size 3M
refuse 2 'power of two' store create new.img --size 1G --segment-size 128M
refuse 2 'gopher' store create gopher:/x --size 1G

"$BEDPLATE" store create store.img --force --segment-size 1M
"$BEDPLATE" volume create main/vm1 --size 10M --store main=store.img
"$BEDPLATE" store grow store.img 512M
expect_equal 536870912 "$(stat -c %s store.img)"
expect_equal '536870912 1' "$(info '"\(.size) \(.volumes)"')"
refuse 1 'does not shrink' store grow store.img 256M
expect_equal 536870912 "$(info .size)"

# A store on a part of what there is.
truncate -s 256M part.img
"$BEDPLATE" store create part.img --size 128M --segment-size 1M
expect_equal 134217728 "$("$BEDPLATE" store info part.img --json | jq .size)"

serve --store main=store.img
for words in 'info store.img' 'grow store.img 1G' 'create store.img --force'; do
    # shellcheck disable=SC2086 # the words are several
    refuse 1 'store\.img: in use' store $words
done
for command in create info grow; do
    "$BEDPLATE" store "$command" --help | grep -q '^Example' || fail "$command has no example"
done
