#!/usr/bin/env bash
# Disks on iSCSI: a store keeps volumes there, a raw disk is the same to QEMU's own driver as to us,
# and whatever is wrong is named within seconds.
set -euo pipefail
source "$CLIENTS/lib.sh"

target=$PWD/target
iscsi() {
    "$CLIENTS/../../scripts/iscsi-target" "$@"
}
trap '[[ -z $server_pid ]] || stop; iscsi kill "$target"' EXIT
iscsi start "$target" 28100
portal=127.0.0.1:28100
name=iqn.2026-01.bedplate
on=iscsi://$portal/$name:disk/1
login="secret-file=$target/secret&target-user=target1&target-secret-file=$target/target-secret"
guarded="iscsi://alice@$portal/$name:chap/1?$login&header-digest=crc32c"
real_disk disk.img

# A store: made, filled, read through NBD, proven.
"$BEDPLATE" store create "$on"
"$BEDPLATE" volume import main/disk disk.img --store "main=$on"
serve --store "main=$on"
qemu-img compare -f raw -F raw disk.img "$(uri main/disk)"
refuse 1 'in use by another server' serve --store "main=$on" --nbd unix:other.sock
refuse 1 'in use by another server' store check "$on"
stop
"$BEDPLATE" store check --data "$on"

# A raw disk behind a login both ways, with checksums: what we write is in the target's file, and
# the other way round.
serve --raw "raw=$guarded"
nbdcopy disk.img "$(uri raw)"
qemu-io -f raw -c 'write -P 5 1M 64k' -c 'discard 2M 1M' -c 'write -z 8M 64k' -c flush \
    "$(uri raw)" >/dev/null
nbdcopy "$(uri raw)" copy.img
nbdinfo --map "$(uri raw)" | grep -q hole
stop
cmp copy.img "$target/chap"
dd if=disk.img of="$target/other" bs=1M conv=notrunc status=none
serve --raw "raw=iscsi://$portal/$name:disk/2"
qemu-img compare -f raw -F raw disk.img "$(uri raw)"
if [[ -e $(echo /usr/lib/*/qemu/block-iscsi.so) ]] &&
    qemu-io -f raw -c quit "iscsi://$portal/$name:disk/2" 2>/dev/null; then
    qemu-io -f raw -c 'write -P 7 4M 64k' -c flush "$(uri raw)" >/dev/null
    qemu-io -f raw -r -c 'read -P 7 4M 64k' "iscsi://$portal/$name:disk/2" | (! grep -i fail)
    # Nobody else gets to write.
    late=$(qemu-io -f raw -c 'write -P 8 4M 64k' "iscsi://$portal/$name:disk/2" 2>&1) || true
    grep -qi 'write failed' <<<"$late" || fail "another initiator may write: $late"
fi
stop

# What is wrong is named.
refuse 1 "no target answers at 127.0.0.1:28199: Connection refused" \
    store info "iscsi://127.0.0.1:28199/$name:disk/1"
refuse 1 'there is no host nowhere.invalid' store info "iscsi://nowhere.invalid/$name:disk/1"
refuse 1 "there is no target $name:nothing" store info "iscsi://$portal/$name:nothing/1"
refuse 1 'there is no LUN 7' store info "iscsi://$portal/$name:disk/7"
refuse 1 'LUN 0 is no disk' store info "iscsi://$portal/$name:disk/0"
refuse 1 'the target wants a login' store info "iscsi://$portal/$name:chap/1"
echo 'not the secret' >wrong
refuse 1 'refuses user alice' store info "iscsi://alice@$portal/$name:chap/1?secret-file=wrong"
refuse 1 'does not prove that it is target1' store info \
    "iscsi://alice@$portal/$name:chap/1?${login%&*}&target-secret-file=wrong"
refuse 1 'nowhere: No such file' store info "iscsi://alice@$portal/$name:chap/1?secret-file=nowhere"
refuse 2 "'pool' is no option" store info "$on?pool=x"
refuse 2 'not //HOST' store info iscsi:main
refuse 2 'the secret is in a file' store info "iscsi://alice%secret@$portal/$name:chap/1"
iscsi stop "$target"
iscsi size "$target" $((2 << 20))
iscsi start "$target"
refuse 1 'too small for a store' store create "$on" --force
iscsi signal "$target" STOP
refuse 1 "did not answer for 10 s" store info "$on"
iscsi signal "$target" CONT
