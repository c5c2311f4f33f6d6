#!/usr/bin/python3
# `stats` tells what clients did with an export, and `top` shows it live on a terminal.

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios

from lib import Server, bedplate, refused

BEDPLATE = os.environ["BEDPLATE"]


def watch(client):
    """Runs `top` on a terminal of 100 by 24 until it has told of writes, then presses q."""
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(terminal)
    watcher = subprocess.Popen([BEDPLATE, "top"], stdin=terminal, stdout=terminal)
    seen = b""

    def look():
        if select.select([keyboard], [], [], 0.01)[0]:
            return os.read(keyboard, 65536)
        return b""

    # The second look draws a bar of the curve for what was written after the first.
    while "█".encode() not in seen:
        client.pwrite(b"x" * 4096, 0)
        seen += look()
        assert watcher.poll() is None, seen
    for words in (b"bedplate ", b"main/vm1", b"reads", b"writes", b"q quit"):
        assert words in seen, (words, seen)
    os.write(keyboard, b"q")
    while watcher.poll() is None:
        look()
    assert watcher.returncode == 0, watcher.returncode
    assert termios.tcgetattr(terminal) == before, "the terminal is not as it was"


bedplate("store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
for name in ("main/vm1", "main/vm2"):
    bedplate("volume", "create", name, "--size", "64M", "--store", "main=store.img")

with Server("--store", "main=store.img", "--raw", "legacy=mem:1M") as server:
    client = server.connect("main/vm1")
    for index in range(10):
        client.pwrite(bytes([index]) * 4096, index * 4096)
    client.pread(8192, 0)
    client.flush()

    facts = json.loads(bedplate("stats", "main/vm1", "--json"))
    assert facts["connections"] == 1, facts
    ops = facts["ops"]
    assert (ops["write"]["requests"], ops["write"]["bytes"]) == (10, 40960), facts
    assert (ops["read"]["requests"], ops["read"]["bytes"]) == (1, 8192), facts
    assert ops["flush"]["requests"] == 1, facts
    assert all(counts["errors"] == 0 for counts in ops.values()), facts
    assert json.loads(bedplate("stats", "main/vm2", "--json"))["ops"] == {}
    assert json.loads(bedplate("stats", "legacy", "--json"))["connections"] == 0
    table = [line.split() for line in bedplate("stats", "main/vm1").splitlines()]
    assert any(row[:4] == ["write", "10", "40K", "0"] for row in table), table
    table = [line.split() for line in bedplate("stats").splitlines()]
    assert ["main/vm1", "1", "1", "8K", "10", "40K", "0"] in table, table
    assert "nothing: there is no store or export of this name" in refused("stats", "nothing")

    assert "standard output: it is no terminal" in refused("top")
    watch(client)
    client.shutdown()
