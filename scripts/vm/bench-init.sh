#!/usr/bin/env bash
# The first process of the machine of scripts/bench-vm: makes the devices, has fio use one after the
# other in every round, prints a line for each sample, and turns the machine off.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/ BEDPLATE_CONTROL=/run/control.sock

# The group, the name and the device of each, ours first in its group.
devices=(
    'null|bedplate null:|/dev/ublkb0'
    'null|rublk null|/dev/ublkb1'
    'raw|bedplate file:|/dev/ublkb2'
    'raw|rublk loop|/dev/ublkb3'
    'store|bedplate store|/dev/ublkb4'
    'store|bedplate store, no cipher|/dev/ublkb5'
    'store|dm-vdo, no cipher|/dev/dm-0'
    'store|rublk loop|/dev/ublkb3'
    'store|rublk qcow2|/dev/ublkb6'
)
# What each group is measured with: a name, and fio's words.
packs='--refill_buffers --buffer_compress_percentage=44'
workloads=(
    'null|random write|--rw=randwrite'
    'null|random read|--rw=randread'
    'raw|random write|--rw=randwrite'
    'raw|random read|--rw=randread'
    'store|random write, unique|--rw=randwrite'
    'store|random write, compressible|--rw=randwrite '"$packs"
    'store|random read|--rw=randread'
)

say() {
    echo "bench: $*"
}

# end STATUS
end() {
    say "$1"
    poweroff -n -f
}

# quiet COMMAND... runs it, and shows what it says only if it fails.
quiet() {
    local output
    output=$("$@" 2>&1) || {
        say "$*: $output"
        false
    }
}

prepare() {
    # shellcheck source=scripts/vm/mounts.sh
    source /mounts.sh
    # In the user-mode kernel they are built in.
    [[ ! -d /lib/modules ]] || modprobe -a virtio_blk ublk_drv dm-vdo
}

# Stores get as much memory for what they read as dm-vdo: most reads are to come from the disk.
make_ours() {
    local size=${MIB}M name
    head -c 32 /dev/urandom >/run/key
    quiet bedplate store create /dev/vdc --key-file /run/key
    quiet bedplate store create /dev/vdd
    quiet bedplate volume create sealed/v --size "$size" --store sealed=/dev/vdc \
        --key-file sealed=/run/key
    quiet bedplate volume create plain/v --size "$size" --store plain=/dev/vdd
    cat >/run/ours.toml <<-END
		nbd = ["unix:/run/nbd.sock"]
		control = "$BEDPLATE_CONTROL"
		[raw.null]
		url = "null:$size"
		[raw.raw]
		url = "/dev/vda"
		[store.sealed]
		url = "/dev/vdc"
		key_file = "/run/key"
		block_cache = "64M"
		[store.plain]
		url = "/dev/vdd"
		block_cache = "64M"
	END
    bedplate serve --config /run/ours.toml >/run/ours.out 2>/run/ours.err &
    for _ in {1..600}; do
        ! grep -qs '^ready: ' /run/ours.out || break
        sleep 0.1
    done
    for name in null=0 raw=2 sealed/v=4 plain/v=5; do
        quiet bedplate attach "${name%=*}" --device "${name#*=}"
    done
}

make_rublk() {
    quiet rublk add null --number 1 --queue 1 --depth 128
    quiet rublk add loop --number 3 --queue 1 --depth 128 -f /dev/vdb
    quiet mkfs.ext4 -q -F /dev/vdf
    mount -t ext4 /dev/vdf /mnt
    cp /new.qcow2 /mnt/
    quiet rublk add qcow2 --number 6 --queue 1 --depth 128 -f /mnt/new.qcow2
}

# Deduplication and compression on, as ours; threads as its tools choose them.
make_vdo() {
    local physical sectors=$((MIB * 2048))
    quiet vdoformat --force --slab-bits=17 --logical-size="${MIB}M" /dev/vde
    physical=$(($(blockdev --getsz /dev/vde) / 8))
    quiet dmsetup create vdo --table "0 $sectors vdo V4 /dev/vde $physical 4096 32768 16380 \
deduplication on compression on"
}

# busy prints how long the processor has worked since the start, in ms.
busy() {
    local user nice system idle wait irq soft
    read -r _ user nice system idle wait irq soft _ </proc/stat
    echo $(((user + nice + system + irq + soft) * 10))
}

# use DEVICE WORD... runs fio, and prints what it found. It asks for several blocks at once, takes
# all answers that are there, and does not look at its clock for each: one by one, a request takes
# it longer than the servers.
use() {
    fio --name=one --filename="$1" --bs=4k --ioengine=io_uring --direct=1 --iodepth=32 \
        --iodepth_batch_submit=8 --iodepth_batch_complete_max=32 --size="${MIB}M" \
        --norandommap --randrepeat=0 --gtod_reduce=1 --output-format=json "${@:2}" 2>/dev/null
}

# sample GROUP ORDER NAME DEVICE WORKLOAD WORD...
sample() {
    local before spent user system
    local TIMEFORMAT='%3U %3S'
    before=$(busy)
    { time use "$4" "${@:6}" --time_based --runtime="$SECONDS_EACH" >/run/found.json; } 2>/run/time
    # What it does later belongs to it.
    blockdev --flushbufs "$4"
    sleep 1
    spent=$(($(busy) - before))
    read -r user system </run/time
    # What fio has used is not the server's.
    jq -c --arg group "$1" --argjson order "$2" --arg disk "$3" --arg workload "$5" \
        --argjson spent $((spent - 10#${user/./} - 10#${system/./})) '
        .jobs[0] | (.read.total_ios + .write.total_ios) as $ios |
        {group: $group, order: $order, disk: $disk, workload: $workload, ios: $ios,
            iops: (.read.iops + .write.iops), cpu_us: ($spent * 1000 / $ios)}' \
        /run/found.json | sed 's/^/sample: /'
}

# measure WORKLOAD: every device of its group with it.
measure() {
    local group name words kind disk device order=0
    IFS='|' read -r group name words <<<"$1"
    for line in "${devices[@]}"; do
        IFS='|' read -r kind disk device <<<"$line"
        order=$((order + 1))
        # shellcheck disable=SC2086 # the words are several
        [[ $kind != "$group" ]] || sample "$group" "$order" "$disk" "$device" "$name" $words
    done
}

trap 'say "line $LINENO: $BASH_COMMAND"; dmesg | tail -n 15; end failed' ERR
set -E
prepare
# shellcheck source=/dev/null
source /settings
say "Linux $(uname -r), $(rublk --version)"
for name in ours rublk vdo; do
    say "making the devices of $name"
    "make_$name"
done
# Blocks that were never written are faster than any others.
for line in "${devices[@]}"; do
    [[ $line != null* ]] || continue
    say "writing ${line##*|} from end to end"
    use "${line##*|}" --rw=write --bs=256k --iodepth=4 --refill_buffers >/run/fill.json
done
say 'devices are ready'
for ((round = 1; round <= ROUNDS; round++)); do
    for workload in "${workloads[@]}"; do
        measure "$workload"
    done
    say "round $round of $ROUNDS"
done
end 'done'
