#!/usr/bin/env bash
# What the shell tests share: a server in the folder where the test runs.
set -euo pipefail
# shellcheck source=tests/clients/expect.sh
source "$CLIENTS/expect.sh"

server_pid=
socket=$PWD/nbd.sock
# Commands call the server that is called so, if nothing else is said.
export BEDPLATE_CONTROL=$PWD/server.control

# start NAME ARGUMENT... runs `bedplate serve ARGUMENT...` and returns once it is ready. What it
# prints is in NAME.out and NAME.err; its process is $server_pid, its control socket NAME.control.
start() {
    local name=$1
    [[ ! -v BEDPLATE_CONTROL ]] || local -x BEDPLATE_CONTROL=$PWD/$name.control
    # What a server before it printed must not be taken for its own.
    rm -f "$name.out" "$name.err"
    "$BEDPLATE" serve "${@:2}" >"$name.out" 2>"$name.err" &
    server_pid=$!
    local pid=$server_pid
    for _ in {1..1000}; do
        if grep -qs '^ready: ' "$name.out"; then
            return
        fi
        if ! kill -0 "$pid" 2>/dev/null; then
            server_pid=
            break
        fi
        sleep 0.01
    done
    fail "the server does not get ready: $(cat "$name.out" "$name.err")"
}

# serve ARGUMENT... starts the server on $socket.
serve() {
    start server --nbd "unix:$socket" "$@"
}

# stop ends the server as an operator would, and demands that it leaves in good order.
stop() {
    local pid=$server_pid status=0
    server_pid=
    kill -TERM "$pid"
    for _ in {1..3000}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.01
    done
    if kill -KILL "$pid" 2>/dev/null; then
        fail "the server does not end: $(cat ./*.err)"
    fi
    wait "$pid" || status=$?
    ((status == 0)) || fail "the server ended with status $status: $(cat ./*.err)"
    ! grep -i panic ./*.err || fail "the server panicked"
}

# uri NAME prints how clients call the export NAME.
uri() {
    echo "nbd+unix:///$1?socket=$socket"
}

# refuse STATUS PATTERN ARGUMENT... demands that the server does not start, with that exit status
# and one line on standard error that matches.
refuse() {
    local wanted=$1 pattern=$2 status=0
    shift 2
    timeout 20 "$BEDPLATE" "$@" >refused.out 2>refused.err || status=$?
    ((status == wanted)) || fail "'$*' ends with status $status: $(cat refused.err)"
    [[ ! -s refused.out ]] || fail "'$*' prints on standard output: $(cat refused.out)"
    grep -qE -- "$pattern" refused.err || fail "'$*' does not say '$pattern': $(cat refused.err)"
    ((wanted != 1)) || expect_equal 1 "$(wc -l <refused.err)"
}

# make_luks SECRET TARGET SIZE has qemu-img make a LUKS disk that the words in the file SECRET open.
# It times its key derivation, and gives up where the kernel's clock of its CPU time, which goes by
# ticks, stands still meanwhile; then it is asked again.
make_luks() {
    local _
    for _ in {1..10}; do
        ! qemu-img create -q -f luks --object "secret,id=key,file=$1" \
            -o key-secret=key,iter-time=50 "$2" "$3" 2>luks.err || return 0
        grep -q 'accurate CPU usage' luks.err || break
    done
    fail "no LUKS disk is made: $(cat luks.err)"
}

# real_disk FILE makes a 64 MiB ext4 disk that holds real files and real holes.
real_disk() {
    mkdir -p files
    cp -r /usr/share/common-licenses "$CLIENTS/../../src" files/
    cp "$(command -v bash)" "$(command -v qemu-img)" files/
    mke2fs -q -t ext4 -d files "$1" 64M
}

# certificates makes, in folders named for who holds them, an authority with a server and a client,
# and a stranger with an authority of his own. Each holder's folder has the file names that clients
# built on GnuTLS look for.
certificates() {
    local who
    for who in authority stranger-authority; do
        mkdir $who
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -subj "/CN=$who" -keyout $who/ca-key.pem -out $who/ca-cert.pem 2>>openssl.log
    done
    certificate server server authority
    certificate client client authority
    certificate stranger client stranger-authority
    cp authority/ca-cert.pem stranger/ca-cert.pem
}

# certificate HOLDER server|client AUTHORITY
certificate() {
    local folder=$1 role=$2 authority=$3
    mkdir "$folder"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$folder" \
        -keyout "$folder/$role-key.pem" -out "$folder/request.pem" 2>>openssl.log
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%sAuth\n' "$role" \
        >"$folder/extensions"
    openssl x509 -req -days 2 -in "$folder/request.pem" -extfile "$folder/extensions" \
        -CA "$authority/ca-cert.pem" -CAkey "$authority/ca-key.pem" -CAcreateserial \
        -out "$folder/$role-cert.pem" 2>>openssl.log
    cp "$authority/ca-cert.pem" "$folder/ca-cert.pem"
}

# serve_tls ARGUMENT... starts the server on $socket with the certificate of `certificates`.
serve_tls() {
    serve --tls-certificate server/server-cert.pem --tls-key server/server-key.pem "$@"
}

# tls_uri NAME HOLDER prints how a client with the holder's certificate calls the export.
tls_uri() {
    echo "nbds+unix:///$1?socket=$socket&tls-certificates=$PWD/$2"
}

# A command that fails says where it stands, and the server does not outlive its test: it must have
# ended well for the test to pass.
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND" >&2' ERR
trap '[[ -z $server_pid ]] || stop' EXIT
