#!/usr/bin/env bash
# What is imported is exported again to the last byte and with its holes, raw or as qcow2, and both
# print the same checksum. Nothing that is there is overwritten unasked.
set -euo pipefail
source "$CLIENTS/lib.sh"

on=(--store main=store.img)
import() {
    "$BEDPLATE" volume import "$@" "${on[@]}" --json
}
export_to() {
    "$BEDPLATE" volume export "$@" "${on[@]}" --json
}
# round NAME FILE imports the file, exports it again, and demands that they are alike.
round() {
    local name=$1 file=$2
    import "main/$name" "$file" >in.json
    export_to "main/$name" "$name.out" >out.json
    cmp "$file" "$name.out"
    expect_equal "$(jq -c '[.size, .xxh128]' in.json)" "$(jq -c '[.size, .xxh128]' out.json)"
    expect_equal "$(stat -c %s "$file")" "$(jq .size in.json)"
}

"$BEDPLATE" store create store.img --size 512M --segment-size 1M
real_disk disk.img
round disk disk.img
(($(stat -c %b disk.out) <= $(stat -c %b disk.img) + 2048)) || fail "holes were filled"
(($(jq .data in.json) < 64 << 20)) || fail "holes were copied as data"
if type -P xxhsum >/dev/null; then
    xxhsum -H2 -q disk.img | grep -q "$(jq -r .xxh128 in.json)" || fail "another sum than xxhsum's"
fi

# Sizes that end inside a block, no data at all, nothing but data.
head -c $((1048576 + 1536)) /dev/urandom >odd.img
truncate -s 1G empty.img
truncate -s 1M edge.img
qemu-io -f raw -c 'write -P 5 65535 2' -c 'write -P 6 1048575 1' edge.img >/dev/null
head -c 512 /dev/urandom >sector.img
round odd odd.img
round empty empty.img
round edge edge.img
round sector sector.img
(($(stat -c %b empty.out) < 64)) || fail "an empty volume takes $(stat -c %b empty.out) sectors"

# Zeroes that the file holds as data take no space in the store, but for its bookkeeping.
head -c 64M /dev/zero >zeroes.img
used() {
    "$BEDPLATE" store info store.img --json | jq .live
}
before=$(used)
round zeroes zeroes.img
(($(used) - before < 16 << 20)) || fail "zeroes take space: $before before, $(used) after"

qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
import main/packed disk.qcow2 >packed.json
export_to main/packed packed.qcow2 >out.json
qemu-img compare -f qcow2 -F qcow2 disk.qcow2 packed.qcow2 >compare.txt || fail "$(cat compare.txt)"
expect_equal "$(jq -r .xxh128 packed.json)" "$(jq -r .xxh128 out.json)"
export_to main/packed packed.img >out.json
cmp disk.img packed.img

echo "not really" >broken.qcow2
refuse 1 'broken\.qcow2: ' volume import main/broken broken.qcow2 "${on[@]}"
mkdir bin
ln -s "$(type -P true)" bin/true
without_qemu() {
    PATH=$PWD/bin "$BEDPLATE" volume "$@" "${on[@]}"
}
expect_fail 'disk\.qcow2: .*qemu-utils' without_qemu import main/broken disk.qcow2
expect_fail 'new\.qcow2: .*qemu-utils' without_qemu export main/disk new.qcow2

head -c 1000 /dev/urandom >short.img
refuse 1 'short\.img: .*512.*truncate' volume import main/short short.img "${on[@]}"
refuse 1 'missing\.img' volume import main/new missing.img "${on[@]}"
refuse 1 'store\.img: in use' volume import main/new store.img "${on[@]}"
refuse 1 'main/disk: there is a.* disk already.*--force' volume import main/disk odd.img "${on[@]}"
refuse 1 'disk\.out: there is such a file.*--force' volume export main/disk disk.out "${on[@]}"
refuse 1 'bin: .*not a regular file' volume export main/disk bin --force "${on[@]}"
refuse 1 'no/folder' volume export main/disk no/folder/disk.img "${on[@]}"
refuse 1 'there is no disk@x' volume export main/disk@x new.img "${on[@]}"
refuse 1 'there is no nobody' volume export main/nobody new.img "${on[@]}"
refuse 2 'is a snapshot' volume import main/disk@x odd.img "${on[@]}"

import main/disk odd.img --force >in.json
export_to main/disk disk.out --force >out.json
cmp odd.img disk.out
"$BEDPLATE" snapshot create main/disk@keep "${on[@]}"
refuse 1 'main/disk: it has snapshots' volume import main/disk edge.img --force "${on[@]}"
export_to main/disk disk.out --force >out.json
cmp odd.img disk.out
expect_equal 0 "$(find . -name '*.partial*' -o -name '*.raw-*' -o -name '*.packed*' | wc -l)"
expect_equal 0 "$("$BEDPLATE" volume list "${on[@]}" | grep -c importing || true)"
"$BEDPLATE" volume export main/disk text.img "${on[@]}" >text.txt
grep -qE "^xxh128 +$(jq -r .xxh128 out.json)$" text.txt || fail "$(cat text.txt)"
