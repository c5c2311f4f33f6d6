#!/usr/bin/env bash
# Disks on Ceph: a store keeps volumes there, a raw image is the same to QEMU's own driver as to
# us, and whoever cannot be reached, or is not there, is named within seconds.
set -euo pipefail
source "$CLIENTS/lib.sh"

# Sockets of a cluster have short paths.
cluster=$(mktemp -d /tmp/bp-ceph.XXXXXX)
ceph() {
    "$CLIENTS/../../scripts/ceph" "$@"
}
trap '[[ -z $server_pid ]] || stop; ceph kill "$cluster"; rm -r "$cluster"' EXIT
CEPH_AUTH=cephx ceph start "$cluster" 27100
export CEPH_CONF=$cluster/ceph.conf
real_disk disk.img

# A store: made, filled, read through NBD, proven.
on='rbd:rbd/main?id=bedplate'
"$BEDPLATE" store create "$on" --size 512M
"$BEDPLATE" volume import main/disk disk.img --store "main=$on"
serve --store "main=$on"
qemu-img compare -f raw -F raw disk.img "$(uri main/disk)"
refuse 1 'in use by the client at' serve --store "main=$on" --nbd unix:other.sock
refuse 1 'in use by the client at' store check "$on"
stop
"$BEDPLATE" store check --data "$on"
"$BEDPLATE" store grow "$on" 768M
expect_equal 805306368 "$("$BEDPLATE" store info "$on" --json | jq .size)"
rbd info --format json rbd/main | jq -e '.size == 805306368' >/dev/null || fail "it did not grow"

# A raw image: what we write Ceph's own tools read, and the other way round; and QEMU's driver,
# where it is installed.
rbd create --size 64M rbd/raw
serve --raw raw=rbd:rbd/raw
nbdcopy disk.img "$(uri raw)"
qemu-io -f raw -c 'write -P 5 1M 64k' -c 'discard 2M 1M' -c 'write -z 8M 64k' -c flush \
    "$(uri raw)" >/dev/null
nbdcopy "$(uri raw)" copy.img
stop
rbd export --no-progress rbd/raw exported.img
cmp copy.img exported.img
if [[ -e $(echo /usr/lib/*/qemu/block-rbd.so) ]]; then
    qemu-io -f raw -c 'read -P 5 1M 64k' -c 'read -P 0 8M 64k' rbd:rbd/raw | (! grep -i fail)
fi
rbd rm --no-progress rbd/raw
rbd import --no-progress disk.img rbd/raw
serve --raw raw=rbd:rbd/raw
qemu-img compare -f raw -F raw disk.img "$(uri raw)"
stop

# What is wrong is named.
refuse 1 'there is no such image' store info rbd:rbd/nothing
refuse 1 'there is no pool nothing' store info rbd:nothing/main
refuse 1 'nowhere.conf cannot be read' store info 'rbd:rbd/main?conf=nowhere.conf'
refuse 1 '(no|refuses the) key of client.stranger' store info 'rbd:rbd/main?id=stranger'
refuse 2 "'pool' is no option" store info 'rbd:rbd/main?pool=x'
refuse 2 'not POOL/IMAGE' store info rbd:main
rbd create --size 64M --image-feature layering rbd/plain
refuse 1 'no exclusive lock' serve --raw raw=rbd:rbd/plain --nbd unix:other.sock
ceph signal "$cluster" mon STOP
refuse 1 'no monitor answers' store info "$on"
ceph signal "$cluster" mon CONT
