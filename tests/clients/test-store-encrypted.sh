#!/usr/bin/env bash
# An encrypted store shows nothing of what is in it, opens with every key that was added and with no
# other, and never again once all keys are gone.
set -euo pipefail
source "$CLIENTS/lib.sh"

head -c 64 /dev/urandom >first.key
head -c 32 /dev/urandom >second.key
head -c 31 /dev/urandom >short.key
printf 'correct horse battery staple\n' >words
printf 'wrong horse\n' >other-words
seq -f 'a needle in a haystack, number %.0f' 20000 >disk.img
truncate -s 8M disk.img

refuse 1 'needs a key.*--key-file' store create store.img --size 64M --cipher aes-256-gcm
refuse 1 'no cipher' store create store.img --size 64M --cipher none --key-file first.key
refuse 1 '31 bytes' store create store.img --size 64M --key-file short.key
refuse 1 'missing\.key' store create store.img --size 64M --key-file missing.key
refuse 2 'none of aes-256-xts' store create store.img --size 64M --cipher rot13

for cipher in aes-256-xts aes-256-gcm; do
    "$BEDPLATE" store create store.img --size 64M --force --cipher "$cipher" --key-file first.key
    on=(--store main=store.img)
    first=("${on[@]}" --key-file main=first.key)
    second=("${on[@]}" --key-file main=second.key)
    words=("${on[@]}" --passphrase-file main=words)
    "$BEDPLATE" volume import main/vm1 disk.img "${first[@]}" >in.txt
    "$BEDPLATE" volume create main/plain --size 1M --compress off "${first[@]}"
    ! grep -q 'needle' store.img || fail "$cipher: plaintext in the store"
    refuse 1 'needs its key' store info store.img
    refuse 1 'no key slot opens' store info store.img --key-file second.key
    refuse 1 'no key slot is for a passphrase' store info store.img --passphrase-file words

    "$BEDPLATE" key add main "${first[@]}" --new-passphrase-file words --label people
    refuse 1 'no key slot opens' store info store.img --passphrase-file other-words
    "$BEDPLATE" volume export main/vm1 out.img --force "${words[@]}" >out.txt
    cmp disk.img out.img
    "$BEDPLATE" key rotate main "${first[@]}" --new-key-file second.key
    refuse 1 'no key slot opens' store info store.img --key-file first.key
    keys=$("$BEDPLATE" key list main "${on[@]}" --json | jq -c '[.cipher, .keys[].kind]')
    expect_equal "[\"$cipher\",\"passphrase\",\"key file\"]" "$keys"
    refuse 1 'needs its key' serve "${on[@]}" --nbd "unix:$socket"

    serve "${second[@]}"
    nbdcopy "nbd+unix:///main/vm1?socket=$socket" served.img
    cmp disk.img served.img
    stop
    "$BEDPLATE" store check store.img --data --key-file second.key >check.txt ||
        fail "$(cat check.txt)"
    "$BEDPLATE" store inspect store.img root --key-file second.key | grep -q vm1 || fail "no vm1"

    # One copy of the key slots is enough.
    dd if=/dev/zero of=store.img bs=4096 count=1 seek=256 conv=notrunc status=none
    "$BEDPLATE" store info store.img --key-file second.key >info.txt
    "$BEDPLATE" key remove main 1 "${second[@]}"
    refuse 1 'last key slot' key remove main 2 "${second[@]}"
    "$BEDPLATE" key remove main --all "${second[@]}"
    refuse 1 'no key slot' store info store.img --key-file second.key
done

"$BEDPLATE" store create open.img --size 64M
refuse 1 'not encrypted' store info open.img --key-file first.key
refuse 1 'not encrypted' key list main --store main=open.img
for command in add list remove rotate; do
    "$BEDPLATE" key "$command" --help | grep -q '^Example' || fail "$command has no example"
done
