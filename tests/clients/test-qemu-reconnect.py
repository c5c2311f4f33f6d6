#!/usr/bin/python3
# The server is killed and started again under QEMU with reconnect-delay, while many writes are
# under way: on a write-through volume nothing that was answered is lost, and nobody sees an error.

import os
import random
import time

import nbd
from lib import KIB, MIB, Server, bedplate, pattern
from qemu import Qemu, nbd_node

BLOCK, BLOCKS, DEPTH, KILLS = 4 * KIB, 4096, 32, 5
SOCKET = os.path.abspath("qemu.sock")
STORE = ("--store", "main=store.img")


class Load:
    """Keeps writes under way, each to a block that none is under way to, and reads what was
    answered."""

    def __init__(self):
        self.handle = nbd.NBD()
        self.handle.set_export_name("disk")
        self.handle.connect_unix(SOCKET)
        self.random = random.Random(1)
        self.busy = {}
        self.wanted = [0] * BLOCKS
        self.count = 0
        self.compared = 0

    def content(self, number):
        return pattern(BLOCK, number) if number else bytes(BLOCK)

    def start_write(self):
        at = self.random.randrange(BLOCKS)
        if at not in self.busy:
            self.count += 1
            data = nbd.Buffer.from_bytearray(bytearray(self.content(self.count)))
            cookie = self.handle.aio_pwrite(data, at * BLOCK)
            # The buffer has to live as long.
            self.busy[at] = (cookie, self.count, data)

    def end_writes(self):
        """What has been answered; libnbd raises what was answered with an error."""
        for at, (cookie, number, _) in list(self.busy.items()):
            if self.handle.aio_command_completed(cookie):
                self.wanted[at] = number
                del self.busy[at]

    def compare(self, at):
        if at not in self.busy:
            found = self.handle.pread(BLOCK, at * BLOCK)
            assert found == self.content(self.wanted[at]), f"block {at} is not what was written"
            self.compared += 1

    def run_until(self, done):
        while not done():
            while len(self.busy) < DEPTH:
                self.start_write()
            self.handle.poll(20)
            self.end_writes()

    def finish(self):
        # Some may have been answered while something was read.
        self.end_writes()
        while self.busy:
            self.handle.poll(-1)
            self.end_writes()


bedplate("store", "create", "store.img", "--size", "512M", "--segment-size", "1M")
bedplate("volume", "create", "main/disk", "--size", str(BLOCKS * BLOCK), "--write-through", *STORE)
server = Server(*STORE)
with Qemu() as qemu:
    node = nbd_node("volume", server.socket, "main/disk", **{"reconnect-delay": 60})
    qemu.do("blockdev-add", **node)
    qemu.do("nbd-server-start", addr={"type": "unix", "data": {"path": SOCKET}})
    export = {"type": "nbd", "id": "door", "node-name": "volume", "name": "disk"}
    qemu.do("block-export-add", writable=True, **export)
    load = Load()
    for kill in range(KILLS):
        enough = load.count + 500 + 100 * kill
        load.run_until(lambda: load.count >= enough)
        # With writes under way, which nobody answers now.
        assert load.busy
        server.process.kill()
        server.process.wait()
        until = time.monotonic() + 0.2 * kill
        load.run_until(lambda: time.monotonic() > until)
        server = Server(*STORE)
        # What was answered before is there, and what was not will be.
        for at in load.random.sample(range(BLOCKS), 200):
            load.compare(at)
    load.finish()
    for at in range(BLOCKS):
        load.compare(at)
    load.handle.flush()
    load.handle.shutdown()
assert load.compared > BLOCKS
with server:
    pass
bedplate("store", "check", "store.img", "--data")
