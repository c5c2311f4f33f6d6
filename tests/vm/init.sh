#!/usr/bin/env bash
# The first process of the machine of scripts/vm-test: runs every test that it finds in /tests, each
# in a folder of its own on the disk, and turns the machine off.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/

# How long one test may take, in seconds, for each of its rounds.
seconds_max=300

finish() {
    echo "vm-test: status $1"
    # Not before what a failed test left waits for is written: that may be never.
    poweroff -n -f
}

prepare() {
    # shellcheck source=scripts/vm/mounts.sh
    source /mounts.sh
    modprobe virtio_blk
    mkfs.ext4 -q -F -E nodiscard /dev/vda
    mount /dev/vda /data
}

# run_test FILE
run_test() {
    local name began verdict=ok
    name=$(basename "$1" .sh)
    name=${name#test-}
    mkdir -p "/data/$name"
    began=$(cut -d. -f1 /proc/uptime)
    if ! (cd "/data/$name" && timeout -k 5 $((seconds_max * ROUNDS)) bash "$1") </dev/null; then
        verdict=FAILED
        dmesg | tail -n 15
    fi
    echo "vm-test: $name $(($(cut -d. -f1 /proc/uptime) - began)) s $verdict"
    [[ $verdict == ok ]] || return 1
    rm -rf "/data/$name"
}

trap 'echo "vm-test: line $LINENO: $BASH_COMMAND"; finish 124' ERR
prepare
echo "vm-test: Linux $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
source /tests/settings
export ROUNDS
failed=0
for test in /tests/test-*.sh; do
    # What a failed test leaves mounted and attached is in the way of the next.
    if ! run_test "$test"; then
        failed=1
        break
    fi
done
# Whatever the tests noticed, nothing of this may have been said.
if dmesg | grep -E 'BUG:|Oops|blocked for more than|I/O error'; then
    failed=1
fi
finish $failed
