#!/usr/bin/python3
# What has changed since a bitmap was made is told over NBD, of volumes and of snapshots, before and
# after crashes; the command line makes, lists, clears and deletes bitmaps, and compares snapshots.

import json
import struct
import subprocess

import lib
import nbd
from lib import KIB, MIB, OPT_LIST_META, OPT_STRUCTURED_REPLY, REP_ACK, REP_META
from lib import Raw, Server, expect_error, pattern

STORE = ("--store", "main=store.img")
SIZE = 64 * MIB + 1536


def bedplate(*words):
    return lib.bedplate(*words, *STORE)


def refused(*words):
    return lib.refused(*words, *STORE)


def context(name):
    return f"qemu:dirty-bitmap:{name}"


def extents(handle, wanted):
    """The extents of a context: offset, length and flags, of the whole export."""
    size, found, at = handle.get_size(), [], 0
    while at < size:
        told = []

        def take(name, offset, entries, _error):
            if name == wanted:
                assert offset == at
                told.extend(zip(entries[::2], entries[1::2]))
            return 0

        handle.block_status(min(size - at, 1 << 30), at, take)
        assert told, f"nothing is told from {at} on"
        for length, flags in told:
            if found and found[-1][2] == flags:
                found[-1][1] += length
            else:
                found.append([at, length, flags])
            at += length
    assert at == size
    return found


def dirty(server, export, name):
    handle = server.connect(export, contexts=(context(name),))
    found = extents(handle, context(name))
    handle.shutdown()
    assert all(flags in (0, 1) for _, _, flags in found), found
    return [(offset, length) for offset, length, flags in found if flags]


def listed(server, export, *queries):
    raw = Raw(server)
    assert raw.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b"")]
    data = struct.pack(">I", len(export)) + export.encode() + struct.pack(">I", len(queries))
    data += b"".join(struct.pack(">I", len(query)) + query.encode() for query in queries)
    replies = raw.option(OPT_LIST_META, data)
    raw.close()
    return [data[4:].decode() for kind, data in replies if kind == REP_META]


lib.bedplate("store", "create", "store.img", "--size", "256M")
bedplate("volume", "create", "main/vm", "--size", str(SIZE))
with Server(*STORE) as server:
    handle = server.connect("main/vm")
    handle.pwrite(pattern(8 * MIB, 1), 0)
    handle.shutdown()
bedplate("bitmap", "create", "main/vm:a")
bedplate("snapshot", "create", "main/vm@one", "--bitmap", "b")
assert "there is a vm:a already" in refused("bitmap", "create", "main/vm:a")
assert "there is no vm:x" in refused("bitmap", "delete", "main/vm:x")
assert "there is no vmx" in refused("bitmap", "create", "main/vmx:a")
names = [fact["name"] for fact in json.loads(bedplate("bitmap", "list", "main/vm", "--json"))]
assert names == ["main/vm:a", "main/vm:b"], names

server = Server(*STORE, "--raw", "plain=mem:1M")
both = [context("a"), context("b")]
depth = "qemu:allocation-depth"
assert listed(server, "main/vm") == ["base:allocation", depth, *both]
assert listed(server, "main/vm", "qemu:") == [depth, *both]
assert listed(server, "main/vm@one", "qemu:dirty-bitmap:") == both
assert listed(server, "main/vm", context("b"), "base:") == ["base:allocation", context("b")]
assert listed(server, "main/vm", context("c")) == []
assert listed(server, "plain") == ["base:allocation"]
assert dirty(server, "main/vm", "a") == []
handle = server.connect("main/vm", contexts=("base:allocation", context("a"), depth))
# Seen at once: not flushed, and smaller than a block.
handle.pwrite(b"x", 5 * MIB + 4095)
handle.pwrite(b"end", SIZE - 3)
handle.pwrite(pattern(12 * KIB, 2), 20 * MIB)
handle.trim(64 * KIB, MIB)
handle.zero(4 * KIB, 40 * MIB)
told = [
    (MIB, 64 * KIB),
    (5 * MIB, 4 * KIB),
    (20 * MIB, 12 * KIB),
    (64 * MIB, 1536),
]
found = extents(handle, context("a"))
assert found == [
    [0, MIB, 0],
    [MIB, 64 * KIB, 1],
    [MIB + 64 * KIB, 4 * MIB - 64 * KIB, 0],
    [5 * MIB, 4 * KIB, 1],
    [5 * MIB + 4 * KIB, 15 * MIB - 4 * KIB, 0],
    [20 * MIB, 12 * KIB, 1],
    [20 * MIB + 12 * KIB, 44 * MIB - 12 * KIB, 0],
    [64 * MIB, 1536, 1],
], found
assert [flags for _, _, flags in extents(handle, depth)] == [1, 0, 1, 0, 1, 0, 1]
assert [flags for _, _, flags in extents(handle, "base:allocation")] == [0, 3, 0, 3, 0, 3, 0]
assert dirty(server, "main/vm", "b") == told
assert dirty(server, "main/vm@one", "a") == []
# Not from the start of a block, and one run only.
runs = []


def take_run(name, _offset, entries, _error):
    runs.append((name, list(entries)))
    return 0


handle.block_status(MIB, 5 * MIB + 100, take_run, nbd.CMD_FLAG_REQ_ONE)
assert (context("a"), [4 * KIB - 100, 1]) in runs, runs
# What a client has not chosen it cannot ask for.
none = server.connect("main/vm", contexts=(context("c"),), strict=False)
expect_error("EINVAL|ENOTSUP", none.block_status, 4096, 0, lambda *_: 0)
# Without a flush: what was answered may be lost, and is not told then.
handle.flush()
handle.pwrite(pattern(4 * KIB, 3), 30 * MIB)
server.process.kill()
server.process.wait()

bedplate("snapshot", "create", "main/vm@two", "--bitmap", "c")
with Server(*STORE) as server:
    assert dirty(server, "main/vm", "c") == []
    found = dirty(server, "main/vm@two", "b")
    assert found in (told, sorted([*told, (30 * MIB, 4 * KIB)])), found
    handle = server.connect("main/vm")
    handle.pwrite(pattern(4 * KIB, 4), 0)
    handle.shutdown()
    assert dirty(server, "main/vm", "c") == [(0, 4 * KIB)]
    assert dirty(server, "main/vm@two", "b") == found

since = json.loads(bedplate("snapshot", "diff", "main/vm@one", "main/vm@two", "--json"))
assert [(one["offset"], one["length"]) for one in since] == found, since
since = bedplate("snapshot", "diff", "main/vm@two")
assert since.split() == ["OFFSET", "LENGTH", "0", "4096"], since
assert json.loads(bedplate("snapshot", "diff", "main/vm@two", "main/vm@two", "--json")) == []

# A rollback is a change like others, and a clone is not followed by bitmaps.
bedplate("snapshot", "rollback", "main/vm@one")
bedplate("volume", "clone", "main/vm@one", "copy")
with Server(*STORE) as server:
    assert dirty(server, "main/vm", "a") == []
    assert dirty(server, "main/vm", "c") == found
    assert listed(server, "main/copy", "qemu:") == ["qemu:allocation-depth"]
    handle = server.connect("main/copy", contexts=("qemu:allocation-depth",))
    handle.pwrite(pattern(4 * KIB, 5), MIB)
    depths = [flags for _, _, flags in extents(handle, "qemu:allocation-depth")]
    assert depths == [2, 1, 2, 0], depths
    handle.shutdown()
bedplate("bitmap", "clear", "main/vm:c")
bedplate("bitmap", "delete", "main/vm:b")
with Server(*STORE) as server:
    assert dirty(server, "main/vm", "c") == []
    assert listed(server, "main/vm", "qemu:dirty-bitmap:") == [context("a"), context("c")]
    info = subprocess.run(
        ["nbdinfo", "--map=" + context("a"), server.uri("main/vm")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert info.stdout.split() == ["0", str(SIZE), "0", "clean"], info.stdout
for command in ("create", "list", "clear", "delete"):
    assert "Example" in bedplate("bitmap", command, "--help")
assert "Example" in bedplate("snapshot", "diff", "--help")
