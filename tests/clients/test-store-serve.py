#!/usr/bin/python3
# The volumes of a store are served and written, its snapshots only read. What was written is there
# after a restart, and what was flushed also after the server was killed.

import json
import os
import subprocess

import nbd
from lib import GIB, KIB, MIB, Server, bedplate, eventually, expect_error, pattern

STORE = ("--store", "main=store.img")


def exports(server):
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_unix(server.socket)
    found = []
    handle.opt_list(lambda name, _description: found.append(name))
    handle.opt_abort()
    return sorted(found)


bedplate("store", "create", "store.img", "--size", "512M", "--segment-size", "1M")
with Server(*STORE) as server:
    assert exports(server) == []
    assert open("server.out").read() == "ready: \n"

bedplate("volume", "create", "main/vm1", "--size", "1G", *STORE)
bedplate("volume", "create", "main/odd", "--size", str(MIB + 1536), "--write-through", *STORE)
first, second = pattern(4 * MIB, 1), pattern(4 * MIB, 2)
with Server(*STORE, "--raw", "plain=mem:1M") as server:
    assert exports(server) == ["main/odd", "main/vm1", "plain"]
    ready = open("server.out").read().split()
    assert server.uri("main/vm1") in ready, ready
    handle = server.connect("main/vm1", contexts=("base:allocation",))
    assert handle.get_size() == GIB
    assert not handle.is_read_only() and handle.can_multi_conn()
    assert handle.can_flush() and handle.can_fua() and handle.can_trim()
    assert handle.can_zero() and handle.can_fast_zero() and handle.can_cache()
    runs = []
    handle.block_status(GIB, 0, lambda _context, _offset, entries, _error: runs.extend(entries))
    assert runs[1] == nbd.STATE_HOLE | nbd.STATE_ZERO, runs
    handle.pwrite(first, 0)
    handle.pwrite(b"end", GIB - 3, nbd.CMD_FLAG_FUA)
    handle.pwrite(b"middle", 10 * MIB - 3)
    # A second client sees what the first was answered, before any flush.
    other = server.connect("main/vm1")
    assert other.pread(4 * MIB, 0) == first
    assert other.pread(6, 10 * MIB - 3) == b"middle"
    other.zero(MIB, MIB, nbd.CMD_FLAG_FAST_ZERO)
    assert handle.pread(MIB, MIB) == bytes(MIB)
    handle.pwrite(first[MIB : 2 * MIB], MIB)
    odd = server.connect("main/odd")
    odd.pwrite(b"last", MIB + 1532)
    odd.shutdown()
    handle.shutdown()
    other.shutdown()

bedplate("snapshot", "create", "main/vm1@one", *STORE)
with Server(*STORE) as server:
    assert exports(server) == ["main/odd", "main/vm1", "main/vm1@one"]
    snapshot = server.connect("main/vm1@one", strict=False)
    assert snapshot.is_read_only()
    assert snapshot.pread(4 * MIB, 0) == first
    assert snapshot.pread(3, GIB - 3) == b"end"
    expect_error("EPERM", snapshot.pwrite, b"x" * 4 * KIB, 0)
    expect_error("EPERM", snapshot.trim, 4 * KIB, 0)
    expect_error("EPERM", snapshot.zero, 4 * KIB, 0)
    snapshot.flush()
    handle = server.connect("main/vm1")
    handle.pwrite(second, 0)
    handle.flush()
    assert handle.pread(4 * MIB, 0) == second
    assert snapshot.pread(4 * MIB, 0) == first
    odd = server.connect("main/odd")
    assert odd.pread(4, MIB + 1532) == b"last"

server = Server(*STORE)
handle = server.connect("main/vm1")
handle.pwrite(first, 32 * MIB)
handle.flush()
server.process.kill()
server.process.wait()


def is_free():
    """The kernel lets go of a dead process's ring, and of the lock on the file, a moment later."""
    command = [os.environ["BEDPLATE"], "store", "info", "store.img"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


eventually(is_free, "the store of the killed server is free")
with Server(*STORE) as server:
    handle = server.connect("main/vm1")
    assert handle.pread(4 * MIB, 0) == second
    assert handle.pread(4 * MIB, 32 * MIB) == first
    assert handle.pread(6, 10 * MIB - 3) == b"middle"
    snapshot = server.connect("main/vm1@one")
    assert snapshot.pread(4 * MIB, 0) == first
    assert snapshot.pread(4 * MIB, 32 * MIB) == bytes(4 * MIB)

listed = json.loads(bedplate("volume", "list", *STORE, "--json"))
assert [volume["name"] for volume in listed] == ["main/odd", "main/vm1"], listed
