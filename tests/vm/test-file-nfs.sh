#!/usr/bin/env bash
# Files on the kernel's own NFS mount: a raw disk and a store on one, of which nothing that was
# flushed is lost when the server is killed under load, ROUNDS times. The lock that refuses a second
# server is kept by the NFS server, so it holds for every machine. An NFS server that is started
# again under load is a pause, and one that does not give the lock back an error.
set -euo pipefail
source /tests/lib.sh
modprobe nfsd
modprobe nfsv4
nfsd=/proc/fs/nfsd
mount -t nfsd nfsd $nfsd
mkdir -p real shown /var/lib/nfs/v4recovery

# start_nfs has the kernel serve NFS version 4. Version 3 would want a port mapper, and grant its
# locks a grace of their own.
start_nfs() {
    echo '-3 +4 +4.1 +4.2' >$nfsd/versions
    echo 'tcp 20490' >$nfsd/portlist
    echo 4 >$nfsd/threads
}

# answer CACHE WORD... tells the kernel what it would ask rpc.mountd, until 2038.
answer() {
    echo "${*:2}" >"/proc/net/rpc/$1/channel"
}

# export_real makes the folder real the root of what is served.
export_real() {
    answer auth.unix.ip 'nfsd 127.0.0.1 2147483647 here'
    # From any port (2), no matter which folder of it (0x400), found by its number (0x2000).
    answer nfsd.export "here $PWD/real 2147483647 $((2 | 0x400 | 0x2000)) 65534 65534 0"
    answer nfsd.fh "here 1 \\x00000000 2147483647 $PWD/real"
}

# calls NAME... prints how many of these calls the mount has made.
calls() {
    awk -v mount="$PWD/shown" -v names=" $* " '
        $1 == "device" { is_it = $5 == mount }
        is_it && index(names, " " substr($1, 1, length($1) - 1) " ") { count += $2 }
        END { print count + 0 }' /proc/self/mountstats
}

exports=(raw main/v)
serve_both() {
    serve --raw raw=shown/raw.img --store main=shown/store.img
}

# refused PATH demands that a second server does not get it.
refused() {
    expect_fail 'in use' bedplate serve --nbd "unix:$PWD/second.sock" --raw "raw=$1"
}

# Who had a lock before the NFS server ended has so many seconds to claim it.
echo 10 | tee $nfsd/nfsv4leasetime >$nfsd/nfsv4gracetime
start_nfs
# There was none.
echo Y >$nfsd/v4_end_grace
export_real
mount -t nfs4 -o vers=4.2,port=20490,addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ shown
truncate -s 64M shown/raw.img
said bedplate store create shown/store.img --size 1G
said bedplate volume create main/v --size 64M --store main=shown/store.img
serve_both
! grep 'page cache' server.err || fail 'there is no direct I/O on NFS'
refused shown/raw.img
# As another machine would ask for it.
refused real/store.img

for ((round = 0; round < ROUNDS; round++)); do
    write $round
    load 32M+16M --loops=1000 --fsync=64
    kill_server
    wait "${loads[@]}" || true
    serve_both
    verify $round
done
echo "$(calls WRITE) writes, $(calls READ READ_PLUS) reads, $(calls COMMIT) commits"

load 32M+2M
echo 0 >$nfsd/threads
start_nfs
export_real
for pid in "${loads[@]}"; do
    wait "$pid" || fail "the load failed: $(cat load?.out)"
done
# Whoever opens the file elsewhere waits for the end of the grace, which may be over.
echo Y 2>/dev/null >$nfsd/v4_end_grace || true
refused real/raw.img

# Without time to claim it the lock is lost. Somebody else may have it by now, so nothing that is
# asked from then on is done.
load 32M+16M --loops=1000
echo 0 >$nfsd/threads
start_nfs
echo Y >$nfsd/v4_end_grace
export_real
for pid in "${loads[@]}"; do
    ! wait "$pid" || fail "the load went on without a lock: $(cat load?.out)"
done
[[ $(dmesg) =~ NFS:\ 127.0.0.1:\ lost\ [12]\ lock ]] || fail "no lock was lost: $(cat server.err)"
kill_server
serve_both
for ((round = ROUNDS > 32 ? ROUNDS - 32 : 0; round < ROUNDS; round++)); do
    verify $round
done
stop
said bedplate store check shown/store.img --data
umount shown
echo 0 >$nfsd/threads
umount $nfsd
