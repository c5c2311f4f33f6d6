#!/usr/bin/env bash
# libvirt takes the XML that 'volume xml' prints: a domain boots from a volume, others come and go
# while it runs, a disk moves from a qcow2 file to a volume under it, and QEMU decrypts one. libvirt
# and QEMU are a user's that is not root and not ours; nothing of the machine's libvirt is touched.
set -euo pipefail
source "$CLIENTS/lib.sh"
source "$CLIENTS/guest.sh"

# What that user reaches. Paths of sockets are short.
there=$(mktemp -d)
socket=$there/nbd.sock

# as_user COMMAND...
as_user() {
    setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH="$PATH" LC_ALL=C \
        HOME="$there" XDG_RUNTIME_DIR="$there/run" XDG_CONFIG_HOME="$there/config" \
        XDG_CACHE_HOME="$there/cache" XDG_DATA_HOME="$there/data" "$@"
}

virsh() {
    as_user virsh --quiet --connect qemu:///session "$@"
}

# start_libvirt starts a libvirt that needs neither systemd nor other daemons.
start_libvirt() {
    mkdir -p "$there"/{run,config/libvirt}
    cat >"$there/config/libvirt/qemu.conf" <<END
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
nbd_tls_x509_cert_dir = "$there/client"
END
    chown -R 65534:65534 "$there"
    as_user libvirtd >libvirtd.log 2>&1 &
    for _ in {1..600}; do
        ! virsh list >virsh.out 2>&1 || return 0
        sleep 0.1
    done
    fail "libvirt does not start: $(cat virsh.out libvirtd.log)"
}

# domain DISK... prints a domain with these <disk>s.
domain() {
    cat <<END
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>$there/kernel</kernel>
    <initrd>$there/initramfs</initrd>
    <cmdline>${kernel_words[*]}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
$(cat "$@")
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='pipe'><source path='$there/guest'/><target port='0'/></serial>
  </devices>
</domain>
END
}

# validate KIND FILE demands that libvirt's own schema takes it.
validate() {
    virt-xml-validate "$2" "$1" >validate.out 2>&1 || fail "$2: $(cat validate.out)"
}

# xml ARGUMENT... prints a disk that libvirt's schema takes.
xml() {
    "$BEDPLATE" volume xml "$@" >disk.xml
    domain disk.xml >domain.xml
    validate domain domain.xml
    cat disk.xml
}

# start_guest starts the domain, and waits until its guest takes commands.
start_guest() {
    local input
    mkfifo "$there/guest.in" "$there/guest.out"
    chown 65534:65534 "$there"/guest.*
    cat "$there/guest.out" >guest.console &
    guest_pids[guest]=$!
    virsh start guest
    exec {input}>"$there/guest.in"
    guest_inputs[guest]=$input
    await_console guest 'guest: ready'
}

# await_guest COMMAND waits until it succeeds in the guest.
await_guest() {
    on guest "for i in \$(seq 600); do $1 && break; sleep 0.1; done; $1" ||
        fail "never true in the guest: $1"
}

# clean_up leaves nothing running, whatever has failed.
clean_up() {
    local file
    for file in "$there"/run/libvirt/{libvirtd.pid,qemu/run/guest.pid}; do
        [[ ! -e $file ]] || kill -KILL "$(<"$file")" 2>/dev/null || true
    done
    kill_guests
    rm -rf "$there"
    [[ -z $server_pid ]] || stop
}
trap clean_up EXIT

make_guest
chmod 755 "$there"
cp "$guest_kernel" "$there/kernel"
cp guest.initramfs "$there/initramfs"
printf 'correct horse battery staple' >"$there/words"
"$BEDPLATE" store create store.img --size 1G
certificates
cp -r client "$there/"
serve_tls --tls-optional --tls-client-ca authority/ca-cert.pem --store main=store.img \
    --nbd 127.0.0.1:0
# Whoever may not write to a socket cannot connect to it.
chmod 666 "$socket"
"$BEDPLATE" volume import main/vm1 guest.img >/dev/null
"$BEDPLATE" volume create main/data --size 64M
"$BEDPLATE" volume create main/moved --size 64M --write-through
"$BEDPLATE" volume create main/secret --size 32M
port=$("$BEDPLATE" status --json | jq -r '.nbd[] | select(startswith("127")) | split(":")[1]')
start_libvirt

for golden in ublk nbd; do
    domain "$CLIENTS/../golden/libvirt-$golden.xml" >domain.xml
    validate domain domain.xml
done

xml main/vm1 >"$there/vda.xml"
domain "$there/vda.xml" >"$there/domain.xml"
virsh define "$there/domain.xml" --validate
start_guest
on guest 'mount -o remount,rw / && head -c 4194304 /dev/urandom >/tmp/noise'
sum=$(on guest 'md5sum </tmp/noise')

# A volume comes while it runs, over TCP with TLS, and goes again.
xml main/data --target vdb --nbd "127.0.0.1:$port" >"$there/vdb.xml"
grep -q "tls='yes'" "$there/vdb.xml"
virsh attach-device guest "$there/vdb.xml" --live --config
await_guest '[ -b /dev/vdb ]'
on guest 'mke2fs /dev/vdb >/dev/null 2>&1; mkdir -p /b'
on guest 'mount /dev/vdb /b && cp /tmp/noise /b/ && umount /b'
"$BEDPLATE" snapshot create main/data@there
virsh detach-device guest "$there/vdb.xml" --live --config
await_guest '[ ! -b /dev/vdb ]'

# A disk moves from a file to a volume while the guest writes to it.
as_user qemu-img create -q -f qcow2 "$there/old.qcow2" 64M
virsh attach-disk guest "$there/old.qcow2" vdc --subdriver qcow2 --live
await_guest '[ -b /dev/vdb ]'
on guest 'mke2fs /dev/vdb >/dev/null 2>&1; mount /dev/vdb /b && cp /tmp/noise /b/before'
on guest 'while :; do head -c 600000 /dev/urandom >/b/busy; sync; done & load=$!'
xml main/moved --target vdc >"$there/moved.xml"
virsh blockcopy guest vdc --xml "$there/moved.xml" --transient-job --wait --pivot --reuse-external
virsh domblklist guest | grep -qE 'vdc +main/moved' || fail "$(virsh domblklist guest)"
on guest 'kill $load; cp /tmp/noise /b/after && sync && umount /b'

# QEMU decrypts, and what the store has is not what the guest wrote.
make_luks "$there/words" "$(uri main/secret)" 30M
"$BEDPLATE" volume secret-xml main/secret >"$there/secret.xml"
validate secret "$there/secret.xml"
virsh secret-define "$there/secret.xml"
uuid=$(virsh secret-list | awk '$2 == "volume" && $3 == "/bedplate/main/secret" { print $1 }')
virsh secret-set-value "$uuid" --file "$there/words" --plain
xml main/secret --target vdd --luks >"$there/vdd.xml"
virsh attach-device guest "$there/vdd.xml" --live
await_guest 'grep -q " vdc$" /proc/partitions'
on guest 'cat /tmp/noise >/dev/vdc; sync'

echo 'sync; mount -o remount,ro /; poweroff -f' >&"${guest_inputs[guest]}"
for _ in {1..300}; do
    [[ $(virsh domstate guest) != 'shut off' ]] || break
    sleep 0.1
done
expect_equal 'shut off' "$(virsh domstate guest)"
"$BEDPLATE" volume export main/data@there data.img >/dev/null
"$BEDPLATE" volume export main/moved moved.img >/dev/null
for disk in data moved; do
    e2fsck -fn $disk.img >e2fsck.out 2>&1 || fail "$disk: $(cat e2fsck.out)"
done
expect_equal "$sum" "$(debugfs -R 'cat noise' data.img 2>/dev/null | md5sum)"
expect_equal "$sum" "$(debugfs -R 'cat before' moved.img 2>/dev/null | md5sum)"
expect_equal "$sum" "$(debugfs -R 'cat after' moved.img 2>/dev/null | md5sum)"
qemu-img convert --object "secret,id=s,file=$there/words" --image-opts -O raw \
    "driver=luks,key-secret=s,file.driver=nbd,file.server.type=unix,file.server.path=$socket,$(
    )file.export=main/secret" secret.img
expect_equal "$sum" "$(head -c 4194304 secret.img | md5sum)"
"$BEDPLATE" volume export main/secret sealed.img >/dev/null
expect_equal 'LUKS' "$(head -c 4 sealed.img)"
