#!/usr/bin/env bash
# A raw disk and a store on disks with two paths each (dm-multipath). With one path gone or broken
# nobody sees an error, with both requests wait; and of what was flushed nothing is lost when the
# server is killed while a path is broken, ROUNDS times.
set -euo pipefail
source /tests/lib.sh
modprobe loop
modprobe dm-multipath
modprobe dm-round-robin
# Nobody else here makes the nodes of devices.
export DM_DISABLE_UDEV=1
sectors=$((1 << 20))
disks=(raw store)
exports=(raw main/v)
# What is behind each path.
declare -A behind

# make_disk NAME makes the device NAME, whose paths NAME-0 and NAME-1 lead to the same file.
make_disk() {
    local path
    truncate -s $((sectors * 512)) "$1.img"
    for path in "$1-0" "$1-1"; do
        behind[$path]=$(losetup -f)
        losetup "${behind[$path]}" "$1.img"
        said dmsetup create "$path" --table "0 $sectors linear ${behind[$path]} 0"
    done
    said dmsetup create "$1" --table "0 $sectors multipath 3 queue_if_no_path queue_mode bio 0 \
1 1 round-robin 0 2 1 /dev/mapper/$1-0 1 /dev/mapper/$1-1 1"
}

# tell WORD NUMBER has dm-multipath take that path of each disk for failed, or for well again.
tell() {
    local disk
    for disk in "${disks[@]}"; do
        said dmsetup message "$disk" 0 "$1_path" "/dev/mapper/$disk-$2"
    done
}

# break_paths NUMBER... has these paths of each disk end every request with an error.
break_paths() {
    local number disk
    for number in "$@"; do
        for disk in "${disks[@]}"; do
            said dmsetup reload "$disk-$number" --table "0 $sectors error"
            said dmsetup resume "$disk-$number"
        done
    done
}

# mend_paths NUMBER... undoes that.
mend_paths() {
    local number disk
    for number in "$@"; do
        for disk in "${disks[@]}"; do
            said dmsetup reload "$disk-$number" \
                --table "0 $sectors linear ${behind[$disk-$number]} 0"
            said dmsetup resume "$disk-$number"
        done
        tell reinstate "$number"
    done
}

# expect_paths WANTED waits until dm-multipath says this of the paths of all disks: A for one that
# is used, F for one that has failed.
expect_paths() {
    local found
    for _ in {1..50}; do
        found=$(dmsetup status --target multipath | grep -oE '[0-9]+:[0-9]+ [AF]' |
            cut -d' ' -f2 | tr -d '\n')
        [[ $found != "$1" ]] || return 0
        sleep 0.1
    done
    fail "the paths are $found instead of $1: $(dmsetup status)"
}

serve_both() {
    serve --raw raw=/dev/mapper/raw --store main=/dev/mapper/store
}

for disk in "${disks[@]}"; do
    make_disk "$disk"
done
said bedplate store create /dev/mapper/store
said bedplate volume create main/v --size 64M --store main=/dev/mapper/store
serve_both
expect_fail 'in use' bedplate serve --nbd "unix:$PWD/second.sock" --raw raw=/dev/mapper/raw

# It writes, reads back and compares all the time.
load 32M+8M --loops=1000 --verify_backlog=256 --fsync=64
expect_paths AAAA
for number in 0 1 0; do
    tell fail $number
    sleep 0.3
    loaded
    tell reinstate $number
done
expect_paths AAAA
break_paths 0
expect_paths FAFA
break_paths 1
expect_paths FFFF
sleep 1
loaded
mend_paths 1
expect_paths FAFA
sleep 0.5
mend_paths 0
expect_paths AAAA
sleep 0.5
loaded
# It would have ended at the first error.
{ kill -KILL "${loads[@]}" && wait "${loads[@]}" || true; } 2>/dev/null

for ((round = 0; round < ROUNDS; round++)); do
    break_paths $((round % 2))
    write $round
    load 32M+8M --loops=1000 --fsync=64
    kill_server
    wait "${loads[@]}" 2>/dev/null || true
    mend_paths $((round % 2))
    serve_both
    verify $round
done
for ((round = ROUNDS > 32 ? ROUNDS - 32 : 0; round < ROUNDS; round++)); do
    verify $round
done
stop
said bedplate store check /dev/mapper/store --data
for disk in "${disks[@]}"; do
    said dmsetup remove "$disk" "$disk-0" "$disk-1"
    losetup -d "${behind[$disk-0]}"
    losetup -d "${behind[$disk-1]}"
done
