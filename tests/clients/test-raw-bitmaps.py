#!/usr/bin/python3
# Incremental backups of a raw disk through kill -9 in the middle of writes: what a bitmap tells is
# enough to follow the disk, round after round. And what is wrong with the file of bitmaps is said.

import json
import os
import random

import nbd
from lib import KIB, MIB, Server, bedplate, expect_error, refused, sparse_file

SIZE, REGION, ROUNDS = 64 * MIB, 64 * KIB, 8
CONFIG = """
[raw.disk]
url = "disk.img"
bitmaps = "disk.bitmaps"
[raw.bare]
url = "mem:1M"
"""


def changed(client, name):
    """The ranges that a bitmap tells of."""
    ranges, at = [], 0

    def keep(context, offset, entries, _error):
        nonlocal at
        if context == f"qemu:dirty-bitmap:{name}":
            for length, flags in zip(entries[::2], entries[1::2]):
                if flags & 1:
                    ranges.append((offset, length))
                offset += length
            at = offset

    while at < SIZE:
        client.block_status(SIZE - at, at, keep)
    return ranges


def scribble(server):
    """Writes here and there, many at once, until the server is killed in the middle of it."""
    client = server.connect("disk")
    # One of them for certain.
    client.pwrite(os.urandom(512), 0)
    under_way = []
    for index in range(random.randrange(20, 300)):
        offset = random.randrange(SIZE // 512 - 64) * 512
        data = nbd.Buffer.from_bytearray(bytearray(os.urandom(512 * random.randrange(1, 64))))
        under_way.append((client.aio_pwrite(data, offset), data))
        if index % 16 == 15:
            client.poll(0)
        if index % 64 == 63:
            under_way.append((client.aio_flush(), None))
    server.process.kill()
    server.process.wait()
    try:
        while client.poll(1000) > 0:
            pass
    except nbd.Error:
        pass


sparse_file("disk.img", SIZE, (0, b"begin" * 1000))
open("config.toml", "w").write(CONFIG)
copy = bytearray(SIZE)
for number in range(ROUNDS):
    server = Server("--config", "config.toml")
    try:
        # What is changed from here on is for the next round. Then what this one is for is read.
        bedplate("bitmap", "create", f"disk:b{number + 1}")
        if number == 0:
            copy[:] = server.connect("disk").pread(SIZE // 2, 0) + bytes(SIZE // 2)
        else:
            name = f"b{number}"
            client = server.connect("disk", contexts=[f"qemu:dirty-bitmap:{name}"])
            assert client.can_meta_context(f"qemu:dirty-bitmap:{name}"), name
            told = changed(client, name)
            for offset, length in told:
                assert offset % REGION == 0 and length % REGION == 0, (offset, length)
                copy[offset : offset + length] = client.pread(length, offset)
            total = sum(length for _, length in told)
            assert 0 < total < SIZE, f"neither nothing nor everything, but {total}"
            client.shutdown()
            bedplate("bitmap", "delete", f"disk:{name}")
        assert copy == open("disk.img", "rb").read(), f"round {number} misses a change"
        listed = json.loads(bedplate("bitmap", "list", "disk", "--json"))
        assert [bitmap["name"] for bitmap in listed] == [f"disk:b{number + 1}"], listed
        assert listed[0]["granularity"] == REGION, listed

        if number == 0:
            bedplate("bitmap", "create", "disk:other")
            assert "disk:other: " in refused("bitmap", "create", "disk:other")
            bedplate("bitmap", "clear", "disk:other")
            bedplate("bitmap", "delete", "disk:other")
            assert "disk:other: " in refused("bitmap", "delete", "disk:other")
            assert "bitmaps" in refused("bitmap", "create", "bare:a")
            assert "bitmaps" in refused("bitmap", "list", "bare")
            client = server.connect("bare", contexts=["qemu:dirty-bitmap:a"])
            assert not client.can_meta_context("qemu:dirty-bitmap:a")
            expect_error("ENOTSUP|EINVAL", client.block_status, MIB, 0, lambda *_: 0)
            client.shutdown()
            table = bedplate("bitmap", "list", "disk").splitlines()
            assert table[1].split()[0] == "disk:b1" and table[1].split()[-1] == "64K", table
        scribble(server)
    finally:
        server.process.kill()
        server.process.wait()

# A file of something else is not written over, and one that is in use is not shared.
os.rename("disk.bitmaps", "kept.bitmaps")
sparse_file("disk.bitmaps", 2 * MIB, (0, b"precious" * 100))
said = refused("serve", "--config", "config.toml", "--nbd", "unix:other.sock")
assert "disk.bitmaps: it holds something else" in said, said
assert open("disk.bitmaps", "rb").read(8) == b"precious"
open("config.toml", "a").write('[raw.fixed]\nurl = "disk.img"\nread_only = true\nbitmaps = "x"\n')
said = refused("serve", "--config", "config.toml", "--nbd", "unix:other.sock")
assert "raw.fixed.bitmaps: nothing changes on a disk that is only read" in said, said
