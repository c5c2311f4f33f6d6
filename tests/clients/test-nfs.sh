#!/usr/bin/env bash
# Disks on NFS: a store keeps volumes there, a raw image is the same to the server's own file system
# as to us, and whoever cannot be reached, or is not there, is named within seconds.
set -euo pipefail
source "$CLIENTS/lib.sh"

nfs() {
    "$CLIENTS/../../scripts/nfs-server" "$@"
}
folder=$PWD/nfs
trap '[[ -z $server_pid ]] || stop; nfs kill "$folder"' EXIT
nfs start "$folder" 29100
at=nfs://127.0.0.1:29100/export
ports=mountport=29101
real_disk disk.img

# A store: made, filled, read through NBD, proven.
on="$at/vms/main?$ports"
refuse 1 'the server exports nothing at /export/vms|the folder vms cannot be reached' \
    store create "$on" --size 512M
mkdir "$folder/export/vms"
"$BEDPLATE" store create "$on" --size 512M
"$BEDPLATE" volume import main/disk disk.img --store "main=$on"
serve --store "main=$on"
qemu-img compare -f raw -F raw disk.img "$(uri main/disk)"
in_use='in use by another process: process [0-9]+ on .*main.lease'
refuse 1 "$in_use" serve --store "main=$on" --nbd unix:other.sock
refuse 1 "$in_use" store check "$on"
stop
[[ ! -e $folder/export/vms/main.lease ]] || fail "the lease was not given back"
"$BEDPLATE" store check --data "$on"
"$BEDPLATE" store grow "$on" 768M
expect_equal 805306368 "$("$BEDPLATE" store info "$on" --json | jq .size)"
expect_equal 805306368 "$(stat -c %s "$folder/export/vms/main")"

# A server that was killed is followed within seconds by the next on the same machine.
serve --store "main=$on"
kill -KILL "$server_pid"
wait "$server_pid" || true
server_pid=
[[ -e $folder/export/vms/main.lease ]] || fail "there was no lease"
serve --store "main=$on"
stop

# A raw image, of any length: what we write is in the file, and the other way round.
truncate -s $(((64 << 20) + 700)) "$folder/export/raw"
serve --raw "raw=$at/raw?$ports"
nbdcopy disk.img "$(uri raw)"
qemu-io -f raw -c 'write -P 5 1M 64k' -c 'discard 2M 1M' -c 'write -z 8M 3M' \
    -c 'write -P 6 511 77' -c flush "$(uri raw)" >/dev/null
qemu-io -f raw -c 'read -P 5 1M 64k' -c 'read -P 0 8M 3M' -c 'read -P 6 511 77' \
    "$(uri raw)" | (! grep -i fail)
nbdcopy "$(uri raw)" copy.img
stop
cmp copy.img "$folder/export/raw"
dd if=disk.img of="$folder/export/raw" conv=notrunc bs=1M status=none
serve --raw "raw=$at/raw?$ports" --read-only raw
nbdcopy "$(uri raw)" copy.img
cmp -n 67108864 copy.img disk.img
stop

# What is wrong is named.
touch "$folder/export/empty"
refuse 1 'there is no such file' store info "$at/nothing?$ports"
refuse 1 'it is a folder' store info "$at/vms?$ports"
refuse 1 'it is empty' store info "$at/empty?$ports"
refuse 1 'exports nothing at /nowhere' store info "nfs://127.0.0.1:29100/nowhere/main?$ports"
refuse 1 'no NFS server at 127.0.0.1 port 29108' store info "nfs://127.0.0.1:29108/export/x?$ports"
refuse 1 'no MOUNT service at port 29108' store info "$at/x?mountport=29108"
refuse 1 'no MOUNT service at port 29100' store info "$at/x?mountport=29100"
refuse 1 'server nowhere.invalid cannot be found' store info "nfs://nowhere.invalid/export/x"
refuse 1 'user 4711 of group 0 may not read' store info "$on&uid=4711"
refuse 1 'it cannot be made: Permission denied' store create "$at/x?$ports&uid=4711" --size 64M
refuse 2 "'pool' is no option" store info "$at/main?pool=x"
refuse 2 'not //HOST' store info nfs:main
truncate -s 64M "$folder/export/vms/open"
chmod 666 "$folder/export/vms/open"
refuse 1 'lease, which is weaker than a lock, cannot be taken: Permission denied' \
    serve --raw "raw=$at/vms/open?$ports&uid=4711" --nbd unix:other.sock
nfs stop "$folder"
NFS_ACCESS=RO nfs start "$folder" 29100
refuse 1 'export it for writing|may not read and write' \
    serve --store "main=$on" --nbd unix:other.sock
nfs signal "$folder" STOP
refuse 1 'no MOUNT service.*does not answer|cannot.*does not answer' store info "$on"
nfs signal "$folder" CONT

# Somebody who does not speak NFS.
python3 - <<'END' &
import os, socket
server = socket.create_server(("127.0.0.1", 0))
with open("port.new", "w") as port:
    print(server.getsockname()[1], file=port)
os.rename("port.new", "port")
for _ in range(2):
    client, _ = server.accept()
    client.recv(1000)
    client.sendall(os.urandom(1000))
END
rubbish=$!
until [[ -e port ]]; do
    kill -0 $rubbish
    sleep 0.05
done
refuse 1 "no MOUNT service at port $(cat port): what answers does not speak" \
    store info "$at/x?mountport=$(cat port)"
kill $rubbish
