#!/usr/bin/env bash
# libvirt starts a domain on the block device that 'volume xml --ublk' names, as a user of its own;
# while its QEMU has the device open it is not detached, and QEMU is named; afterwards it is.
set -euo pipefail
source /tests/lib.sh
modprobe ublk_drv
user=65534
# What that user reaches. Paths of sockets are short.
there=/run/libvirt
export HOME=$there XDG_RUNTIME_DIR=$there/run XDG_CONFIG_HOME=$there/config
export XDG_CACHE_HOME=$there/cache XDG_DATA_HOME=$there/data

as_user() {
    setpriv --reuid=$user --regid=$user --clear-groups "$@"
}

virsh() {
    as_user virsh --quiet --connect qemu:///session "$@"
}

# start_libvirt starts a libvirt that needs neither systemd nor other daemons.
start_libvirt() {
    echo "nobody:x:$user:$user:nobody:/:/bin/sh" >>/etc/passwd
    echo "nogroup:x:$user:" >>/etc/group
    mkdir -p $there/{run,config/libvirt}
    cat >$there/config/libvirt/qemu.conf <<END
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
END
    chown -R $user:$user $there
    as_user libvirtd >libvirtd.log 2>&1 &
    for _ in {1..600}; do
        ! virsh list >virsh.out 2>&1 || return 0
        sleep 0.1
    done
    fail "libvirt does not start: $(cat virsh.out libvirtd.log)"
}

said bedplate store create store.img --size 1G
said bedplate volume create main/vm1 --size 64M --store main=store.img
serve --store main=store.img
device=$(bedplate attach main/vm1)
chown $user "$device"
start_libvirt
cat >$there/domain.xml <<END
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
$(bedplate volume xml main/vm1 --ublk)
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
END
virsh define $there/domain.xml --validate
virsh start guest --paused || fail "$(tail -n 5 $there/cache/libvirt/qemu/log/guest.log)"
virsh domblklist guest | grep -q "vda *$device" || fail "$(virsh domblklist guest)"
expect_fail 'qemu-system-x86 has it open, process [0-9]+' bedplate detach "$device"
expect_equal paused "$(virsh domstate guest)"
# It still writes.
said virsh qemu-monitor-command guest --hmp \
    'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "write -P 0x33 1M 1M"'
virsh destroy guest
said bedplate detach "$device"
said bedplate volume export main/vm1 vm1.img
expect_equal "$(head -c 1048576 /dev/zero | tr '\0' '\063' | md5sum)" \
    "$(tail -c +1048577 vm1.img | head -c 1048576 | md5sum)"
kill "$(cat $there/run/libvirt/libvirtd.pid)"
stop
