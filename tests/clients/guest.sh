#!/usr/bin/env bash
# Guests of QEMU: Debian's kernel and busybox, with an ext4 root on a disk of the test's choice, and
# tests type at their consoles. To be sourced, not run, after lib.sh.
set -euo pipefail
# shellcheck source=scripts/machine.sh
source "$CLIENTS/../../scripts/machine.sh"

# The processes of the guests that run, and the descriptors of what is typed, by name.
declare -A guest_pids guest_inputs

# make_guest makes guest.initramfs, and the disk guest.img with the root; $guest_kernel is the
# kernel.
make_guest() {
    fetch_kernel
    guest_kernel=$vmlinuz
    begin_tree "$PWD/tree"
    put_modules virtio_blk
    install "$CLIENTS/../guest/initramfs.sh" "$tree/init"
    pack_tree guest.initramfs
    begin_tree "$PWD/tree"
    install "$CLIENTS/../guest/init.sh" "$tree/sbin/init"
    mke2fs -q -t ext4 -d "$tree" guest.img 64M
    rm -r "$tree"
}

# boot NAME ARGUMENT... starts a guest, with these arguments of QEMU besides, and waits until it
# takes commands. Its console is in NAME.console.
boot() {
    local name=$1 input
    rm -f "$name.in" "$name.console"
    mkfifo "$name.in"
    qemu-system-x86_64 "${machine_words[@]}" -name "$name" -m 256 -smp 1 -kernel "$guest_kernel" \
        -initrd guest.initramfs -append "${kernel_words[*]}" "${@:2}" \
        <"$name.in" >"$name.console" 2>&1 &
    guest_pids[$name]=$!
    exec {input}>"$name.in"
    guest_inputs[$name]=$input
    await_console "$name" 'guest: ready'
}

# await_console NAME LINE waits until the console shows a line that begins so.
await_console() {
    for _ in {1..1800}; do
        ! grep -q "^$2" "$1.console" || return 0
        kill -0 "${guest_pids[$1]}" 2>/dev/null || break
        sleep 0.05
    done
    fail "the guest $1 does not say '$2': $(tail -n 20 "$1.console")"
}

# on NAME COMMAND... types a line at the console, prints what it says and returns how it ended.
on() {
    local name=$1 number status
    number=$(($(grep -c '^guest: [0-9]* ended' "$name.console" || true) + 1))
    echo "${*:2}" >&"${guest_inputs[$name]}"
    await_console "$name" "guest: $number ended"
    sed "s/\r//g; 1,/^guest: $number begins/d; /^guest: $number ended/,\$d" "$name.console"
    status=$(sed -n "s/\r//g; s/^guest: $number ended //p" "$name.console")
    return "$status"
}

# power_off NAME turns a guest off in good order.
power_off() {
    echo 'sync; mount -o remount,ro /; poweroff -f' >&"${guest_inputs[$1]}"
    wait_off "$1"
}

# wait_off NAME waits for the end of its QEMU.
wait_off() {
    local input=${guest_inputs[$1]}
    wait "${guest_pids[$1]}" || fail "QEMU of $1 ended with status $?: $(cat "$1.console")"
    exec {input}>&-
    unset "guest_pids[$1]" "guest_inputs[$1]"
    ! grep -E 'EXT4-fs error|I/O error|BUG:|Oops' "$1.console" || fail "the guest $1 complains"
}

# Guests do not outlive their test, either.
kill_guests() {
    local pid
    for pid in "${guest_pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
}
trap 'kill_guests; [[ -z $server_pid ]] || stop' EXIT
