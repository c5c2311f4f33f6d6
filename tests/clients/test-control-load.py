#!/usr/bin/python3
# Hundreds of control calls while clients write and read: every call does what it says, and no
# client reads anything but what it wrote.

import json
import threading

from lib import MIB, Server, bedplate, pattern

ROUNDS = 20
BLOCK = 64 << 10


class Client(threading.Thread):
    """Writes and reads a volume until it is told to end."""

    def __init__(self, server, name):
        super().__init__()
        self.handle = server.connect(name)
        self.asked_to_end = threading.Event()
        self.rounds = 0
        self.failure = None

    def run(self):
        try:
            while not self.asked_to_end.is_set():
                self.rounds += 1
                at = (self.rounds * 7 % 64) * BLOCK
                data = pattern(BLOCK, self.rounds)
                self.handle.pwrite(data, at)
                if self.rounds % 16 == 0:
                    self.handle.flush()
                assert self.handle.pread(BLOCK, at) == data, f"round {self.rounds}"
        except Exception as failure:  # told by whoever joins
            self.failure = failure

    def end(self):
        self.asked_to_end.set()
        self.join()
        if self.failure:
            raise self.failure
        assert self.rounds > 0
        self.handle.shutdown()


bedplate("store", "create", "store.img", "--size", "512M", "--segment-size", "1M")
with Server("--store", "main=store.img") as server:
    for name in ("a", "b"):
        bedplate("volume", "create", f"main/{name}", "--size", str(16 * MIB))
    clients = [Client(server, "main/a"), Client(server, "main/b")]
    for client in clients:
        client.start()
    for index in range(ROUNDS):
        bedplate("snapshot", "create", f"main/a@{index}", f"main/b@{index}")
        bedplate("volume", "clone", f"main/a@{index}", f"c{index}")
        bedplate("volume", "resize", "main/a", str((17 + index) * MIB))
        bedplate("volume", "set", "main/b", "compress=" + ("off", "lz4", "zstd")[index % 3])
        bedplate("volume", "rename", f"main/c{index}", f"d{index}")
        shown = json.loads(bedplate("volume", "show", f"main/d{index}", "--json"))
        assert shown["origin"] == f"main/a@{index}", shown
        status = json.loads(bedplate("status", "--json"))
        assert status["connections"] == 2 and status["problems"] == [], status
        if index % 2:
            bedplate("volume", "delete", f"main/d{index}")
            bedplate("snapshot", "delete", f"main/b@{index}")
    for client in clients:
        client.end()
    volumes = json.loads(bedplate("volume", "list", "--json"))
    wanted = ["main/a", "main/b"] + sorted(f"main/d{index}" for index in range(0, ROUNDS, 2))
    assert [volume["name"] for volume in volumes] == wanted, volumes
    assert volumes[0]["size"] == (16 + ROUNDS) * MIB
bedplate("store", "check", "store.img", "--data")
