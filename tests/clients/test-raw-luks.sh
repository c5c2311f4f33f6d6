#!/usr/bin/env bash
# Disks with a LUKS header are the same disks to bedplate, QEMU and cryptsetup, whoever made them,
# and open with the right key only.
set -euo pipefail
source "$CLIENTS/lib.sh"
# Tools for root live where other people's shells do not look. No device is mapped, so nothing here
# has to be root.
PATH=$PATH:/usr/sbin:/sbin

printf 'correct horse battery staple' >words
printf 'wrong horse' >other-words
: >no-words
head -c 48 /dev/urandom | base64 -w 0 >text.key
head -c 64 /dev/urandom >random.key
head -c 31 /dev/urandom >short.key
seq -f 'a needle in a haystack, number %.0f' 250000 >disk.img
truncate -s 12M disk.img

# What QEMU calls the disk in a file that opens with what another file holds.
luks() {
    echo "driver=luks,file.filename=$1,key-secret=key"
}

# qemu TOOL KEYFILE ARGUMENT... runs a tool of QEMU that knows the key by the name 'key'.
qemu() {
    "$1" "${@:3:1}" --object "secret,id=key,file=$2" "${@:4}"
}

no_plaintext() {
    ! grep -q 'needle' "$1" || fail "plaintext in $1"
}

# Made and filled by QEMU, read by us; written by us, read by QEMU.
make_luks words qemu.luks 12M
qemu qemu-img words convert --target-image-opts -n -f raw disk.img "$(luks qemu.luks)"
no_plaintext qemu.luks
serve --raw disk=qemu.luks --passphrase-file disk=words
expect_equal 12582912 "$(nbdinfo --size "$(uri disk)")"
nbdcopy "$(uri disk)" out.img
cmp disk.img out.img
# Whole sectors and parts of them; zeroes; and what is discarded reads as anything.
qemu-io -f raw "$(uri disk)" -c 'write -P 65 1M 64k' -c 'write -P 66 100 1000' \
    -c 'write -z 3M 1234567' -c 'write -z -u 2M 4k' -c 'discard 11M 1M' >io.txt
map=$(nbdinfo --map --json "$(uri disk)" | jq -c '[.[] | [.offset, .length, .type]]')
expect_equal '[[0,12582912,0]]' "$map"
expect_fail 'not supported|NOTSUP|Operation not' qemu-io -f raw "$(uri disk)" -c 'write -z -n 0 4k'
nbdcopy "$(uri disk)" served.img
stop
qemu-io -f raw disk.img -c 'write -P 65 1M 64k' -c 'write -P 66 100 1000' \
    -c 'write -z 3M 1234567' -c 'write -z 2M 4k' >io.txt
cmp -n 11M disk.img served.img
qemu qemu-img words convert --image-opts -O raw "$(luks qemu.luks)" back.img
cmp served.img back.img
no_plaintext qemu.luks

# Made by us: opened by QEMU and by cryptsetup, with a passphrase and with a key file.
"$BEDPLATE" raw format ours.luks --size 12M --passphrase-file words
expect_equal $((14 << 20)) "$(stat -c %s ours.luks)"
"$BEDPLATE" raw format text.luks --size 1M --key-file text.key
"$BEDPLATE" raw format random.luks --size 1M --key-file random.key --iterations 1000
for disk in ours:words text:text.key random:random.key; do
    cryptsetup luksDump "${disk%:*}.luks" >dump.txt
    grep -Eq '^Cipher mode:[[:space:]]+xts-plain64$' dump.txt || fail "$(cat dump.txt)"
    cryptsetup open --test-passphrase --key-file "${disk#*:}" "${disk%:*}.luks"
done
expect_fail 'No key available' \
    cryptsetup open --test-passphrase --key-file other-words text.luks
expect_equal '[12582912,"aes-256","xts","plain64","sha256"]' "$(
    qemu qemu-img words info --output=json --image-opts "$(luks ours.luks)" |
        jq -c '[."virtual-size", (."format-specific".data |
            ."cipher-alg", ."cipher-mode", ."ivgen-alg", ."hash-alg")]'
)"
qemu qemu-img text.key info --image-opts "$(luks text.luks)" >info.txt
serve --raw disk=ours.luks --passphrase-file disk=words \
    --raw key=random.luks --key-file key=random.key
nbdcopy disk.img "$(uri disk)"
stop
no_plaintext ours.luks
qemu qemu-img words convert --image-opts -O raw "$(luks ours.luks)" back.img
cmp disk.img back.img
qemu-io --object secret,id=key,file=words --image-opts "$(luks ours.luks)" \
    -c 'write -P 67 5M 1M' >io.txt
qemu-io -f raw disk.img -c 'write -P 67 5M 1M' >io.txt
serve --raw disk=ours.luks --passphrase-file disk=words --read-only disk
nbdcopy "$(uri disk)" out.img
cmp disk.img out.img
stop

# LUKS1 and LUKS2 by cryptsetup: every way to a key, sectors of 512 and of 4096 bytes.
cheap=(--pbkdf-force-iterations 4 --pbkdf-memory 32768 --pbkdf-parallel 2)
cryptsetup_makes() {
    rm -f made.luks
    truncate -s 32M made.luks
    cryptsetup luksFormat -q "${@:1}" made.luks words
    serve --raw disk=made.luks --passphrase-file disk=words
    nbdcopy disk.img "$(uri disk)" 2>/dev/null
    qemu-io -f raw "$(uri disk)" -c 'write -P 68 700 5000' >io.txt
    qemu-io -f raw "$(uri disk)" -c 'read -P 68 700 5000' >io.txt
    stop
    no_plaintext made.luks
    refuse 1 'no LUKS key slot opens' serve --raw disk=made.luks \
        --passphrase-file disk=other-words --nbd "unix:$socket"
}
cryptsetup_makes --type luks1 --pbkdf-force-iterations 1000 --hash sha512
qemu qemu-img words info --image-opts "$(luks made.luks)" >info.txt
cryptsetup_makes --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha512
cryptsetup_makes --type luks2 --pbkdf argon2i "${cheap[@]}" --sector-size 512
cryptsetup_makes --type luks2 --pbkdf argon2id "${cheap[@]}" --sector-size 4096

# Either copy of that header is enough, and the damage is told.
for copy in 0 4; do
    cp made.luks damaged.luks
    dd if=/dev/urandom of=damaged.luks bs=4096 seek=$copy count=1 conv=notrunc status=none
    serve --raw disk=damaged.luks --passphrase-file disk=words
    grep -q 'copy of the LUKS header' server.err || fail "the damage is not told"
    stop
done
dd if=/dev/zero of=damaged.luks bs=4096 count=1 conv=notrunc status=none
refuse 1 'no LUKS header' serve --raw disk=damaged.luks --passphrase-file disk=words \
    --nbd "unix:$socket"

# A disk that cryptsetup has encrypted, sector by sector, is the disk that it was.
truncate -s 64M plain.img
seq -f 'a needle in a haystack, number %.0f' 300000 | dd of=plain.img conv=notrunc status=none
cp plain.img encrypted.luks
cryptsetup reencrypt -q --encrypt --type luks2 "${cheap[@]}" --sector-size 4096 \
    --reduce-device-size 32M --key-file words encrypted.luks
serve --raw disk=encrypted.luks --passphrase-file disk=words
nbdcopy "$(uri disk)" out.img
cmp -n 32M plain.img out.img
stop

# What cannot be opened is told on one line, and nothing is opened.
opens() {
    refuse 1 "$1" serve --raw "disk=$2" "${@:3}" --nbd "unix:$socket"
}
opens 'no LUKS key slot opens.*right one' ours.luks --passphrase-file disk=other-words
opens 'no LUKS key slot opens' ours.luks --key-file disk=random.key
opens 'first line is empty' ours.luks --passphrase-file disk=no-words
opens 'no LUKS header.*raw format' disk.img --passphrase-file disk=words
opens 'no store or disk is called so' disk.img --passphrase-file other=words
truncate -s 2M cut.luks
dd if=ours.luks of=cut.luks bs=1M count=2 conv=notrunc status=none
opens 'too small' cut.luks --passphrase-file disk=words
truncate -s 32M cbc.luks
cryptsetup luksFormat -q --type luks1 --cipher aes-cbc-essiv:sha256 --key-size 256 \
    --pbkdf-force-iterations 1000 cbc.luks words
opens 'cipher "aes-cbc-essiv:sha256 with a key of 32 bytes"' cbc.luks \
    --passphrase-file disk=words
# Four thousand million iterations would take an hour.
cp ours.luks costly.luks
printf '\xff\xff\xff\xff' | dd of=costly.luks bs=1 seek=212 conv=notrunc status=none
opens 'more than 67108864 iterations' costly.luks --passphrase-file disk=words

# A disk is only made where nothing is.
refuse 1 'there is data there, a LUKS header.*--force' raw format ours.luks --key-file text.key
refuse 1 'there is data there, of no known kind' raw format disk.img --key-file text.key
refuse 1 'leave out --size' raw format disk.img --key-file text.key --size 1M --force
refuse 2 '999 is not in 1000..=67108864' raw format new.luks --size 1M --key-file text.key \
    --iterations 999
refuse 1 'needs a key' raw format new.luks --size 1M
refuse 1 '31 bytes' raw format new.luks --size 1M --key-file short.key
refuse 1 'no such file.*--size' raw format new.luks --key-file text.key
refuse 1 'multiple of 512' raw format new.luks --key-file text.key --size 1000
refuse 1 'is gone when' raw format mem:4M --key-file text.key
[[ ! -e new.luks ]] || fail "a file was left behind"
truncate -s 2M small.img
refuse 1 'too small' raw format small.img --key-file text.key
"$BEDPLATE" raw format ours.luks --key-file text.key --force
opens 'no LUKS key slot opens' ours.luks --passphrase-file disk=words
"$BEDPLATE" raw format --help | grep -q '^Example' || fail "no example"
