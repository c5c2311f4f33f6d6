#!/usr/bin/python3
# What a client has open is neither deleted nor rolled back, and the refusal says how many have; a
# rename does not disturb it, and a larger size is for those who connect later.

import json
import subprocess

import nbd
from lib import MIB, Server, bedplate, eventually, pattern, refused

STORE = ("--store", "main=store.img")


def connections(name):
    return json.loads(bedplate("volume", "show", name, "--json"))["connections"]


bedplate("store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
with Server(*STORE, "--raw", "plain=mem:1M") as server:
    bedplate("volume", "create", "main/vm1", "--size", str(64 * MIB + 512))
    one, two = server.connect("main/vm1"), server.connect("main/vm1")
    plain = server.connect("plain")
    one.pwrite(pattern(MIB, 1), 0)
    bedplate("snapshot", "create", "main/vm1@a")
    one.pwrite(pattern(MIB, 2), 0)
    assert connections("main/vm1") == 2
    error = refused("snapshot", "rollback", "main/vm1@a")
    assert "main/vm1: 2 connections have it open" in error and "status" in error, error

    status = json.loads(bedplate("status", "--json"))
    assert status["connections"] == 3 and status["pid"] == server.pid, status
    assert status["open"] == [{"name": "main/vm1", "connections": 2}], status
    assert status["raws"] == [{"name": "plain", "connections": 1}], status
    assert status["stores"][0]["connections"] == 2 and status["problems"] == [], status

    # A snapshot that is being read stays, and its volume can be rolled back beneath it.
    reader = server.connect("main/vm1@a")
    error = refused("snapshot", "delete", "main/vm1@a")
    assert "main/vm1@a: 1 connection has it open" in error, error
    one.shutdown()
    assert "1 connection has it open" in refused("snapshot", "rollback", "main/vm1@a")
    two.shutdown()
    bedplate("snapshot", "rollback", "main/vm1@a")
    assert reader.pread(MIB, 0) == pattern(MIB, 1)
    reader.shutdown()
    bedplate("snapshot", "delete", "main/vm1@a")

    # A connection goes on under the new name, and what it has written is there under it.
    one = server.connect("main/vm1")
    bedplate("volume", "rename", "main/vm1", "vm2")
    one.pwrite(pattern(MIB, 3), MIB)
    two = server.connect("main/vm2")
    assert two.pread(MIB, MIB) == pattern(MIB, 3)
    assert connections("main/vm2") == 2
    try:
        server.connect("main/vm1")
        raise AssertionError("the old name still works")
    except nbd.Error:
        pass
    assert "main/vm2: 2 connections have it open" in refused("volume", "delete", "main/vm2")

    # Those that are there keep the size that they were told, with the odd end that it has.
    said = bedplate("volume", "resize", "main/vm2", str(128 * MIB))
    assert said.startswith("2 connections"), said
    assert one.get_size() == 64 * MIB + 512
    wide = server.connect("main/vm2")
    assert wide.get_size() == 128 * MIB
    wide.pwrite(b"x" * 4096, 64 * MIB)
    # The end of the old size is inside a block now: only what is before it may be cleared.
    one.trim(512, 64 * MIB)
    one.zero(512, 64 * MIB)
    assert wide.pread(4096, 64 * MIB) == bytes(512) + b"x" * 3584
    wide.pwrite(b"y", 128 * MIB - 1)
    for handle in (one, two, wide, plain):
        handle.shutdown()

    # A client that is killed is not in the way for long.
    killed = subprocess.Popen(
        ["/usr/bin/python3", "-c", "import nbd, sys, time; h = nbd.NBD();"
         "h.set_export_name('main/vm2'); h.connect_unix(sys.argv[1]); time.sleep(600)",
         server.socket])
    eventually(lambda: connections("main/vm2") == 1, "a client is there")
    killed.kill()
    killed.wait()
    bedplate("volume", "delete", "main/vm2")
    assert json.loads(bedplate("volume", "list", "--json")) == []
