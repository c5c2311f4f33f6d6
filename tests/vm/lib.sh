#!/usr/bin/env bash
# What the tests in the machine share: a server in the folder where the test runs. To be sourced,
# not run.
set -euo pipefail
# shellcheck source=tests/clients/expect.sh
source /tests/expect.sh

server_pid=
# What to run the server with.
prefix=()
socket=$PWD/nbd.sock
export BEDPLATE_CONTROL=$PWD/control.sock

# said WORD... runs a command and shows what it said only if it fails.
said() {
    local output
    output=$("$@" 2>&1) || fail "$*: $output"
}

# serve ARGUMENT... starts the server, and returns once it is ready.
serve() {
    # What a server before it printed must not be taken for its own.
    rm -f server.out
    "${prefix[@]}" bedplate serve --nbd "unix:$socket" --control "$BEDPLATE_CONTROL" "$@" \
        >server.out 2>>server.err &
    server_pid=$!
    for _ in {1..1200}; do
        ! grep -qs '^ready: ' server.out || return 0
        kill -0 $server_pid 2>/dev/null || break
        sleep 0.05
    done
    fail "the server does not get ready: $(cat server.out server.err)"
}

# stop ends the server as an operator would, and demands that it leaves in good order.
stop() {
    local pid=$server_pid status=0
    server_pid=
    kill -TERM "$pid"
    wait "$pid" || status=$?
    ((status == 0)) || fail "the server ended with status $status: $(cat server.err)"
    ! grep -i panic server.err || fail "the server panicked"
}

# lends_memory prints whether the kernel has what takes no copies of requests: Linux 6.16 is the
# first.
lends_memory() {
    local oldest
    oldest=$(printf '%s\n' 6.16 "$(uname -r)" | sort -V | head -n 1)
    jq -n --arg oldest "$oldest" '$oldest == "6.16"'
}

# is_zero_copy NAME prints whether the volume is attached so.
is_zero_copy() {
    bedplate status --json | jq -r ".devices[] | select(.volume == \"$1\") | .zero_copy"
}

# kill_server has it end as a crash would.
kill_server() {
    kill -KILL "$server_pid"
    { wait "$server_pid" || true; } 2>/dev/null
    server_pid=
}

# use EXPORT RW PLACE WORD... runs fio on a part of an export, given as OFFSET+SIZE.
use() {
    fio --name=x --ioengine=nbd --uri="nbd+unix:///$1?socket=$socket" --rw="$2" \
        --offset="${3%+*}" --size="${3#*+}" --bs=4k --iodepth=16 --verify=crc32c \
        --verify_fatal=1 "${@:4}"
}

# What the rest is about, to be set by the test.
exports=()

# write PART writes a mebibyte of each export, and flushes it.
write() {
    local name
    for name in "${exports[@]}"; do
        said use "$name" randwrite "$(($1 % 32))M+1M" --do_verify=0 --randseed="$1" --end_fsync=1
    done
}

# verify PART demands that it is there.
verify() {
    local name
    for name in "${exports[@]}"; do
        said use "$name" randwrite "$(($1 % 32))M+1M" --verify_only --randseed="$1"
    done
}

# load PLACE WORD... uses that part of each export in the background; the processes are in loads.
load() {
    local name
    loads=()
    for name in "${exports[@]}"; do
        use "$name" randrw "$@" >"load${#loads[@]}.out" 2>&1 &
        loads+=($!)
    done
    sleep 0.7
    loaded
}

# loaded demands that the load goes on.
loaded() {
    kill -0 "${loads[@]}" || fail "a load has ended: $(cat load?.out)"
}

# milliseconds prints how long the machine is up.
milliseconds() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

trap 'echo "FAIL: line $LINENO: $BASH_COMMAND" >&2; tail -n 20 server.err >&2 || true' ERR
trap '[[ -z $server_pid ]] || kill -KILL $server_pid 2>/dev/null || true' EXIT
