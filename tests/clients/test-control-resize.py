#!/usr/bin/python3
# What QEMU sees of a volume that becomes larger while it has it open: nothing on the connection
# that it has, whatever it is asked, and all of it once its raw node stands on another connection.
# The README tells people so.

import json
import os
import subprocess

from lib import MIB, Server


def bedplate(*words):
    command = [os.environ["BEDPLATE"], *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Qemu:
    """The block layer of QEMU, which is spoken to as a guest's is."""

    def __init__(self):
        command = ["qemu-storage-daemon", "--chardev", "stdio,id=c", "--monitor", "chardev=c"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.process.stdout.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        line = json.dumps({"execute": command, "arguments": arguments})
        print(line, file=self.process.stdin, flush=True)
        while True:
            answer = json.loads(self.process.stdout.readline())
            if "error" in answer:
                return answer["error"]["desc"]
            if "return" in answer:
                return answer["return"]

    def size(self, node):
        nodes = self.ask("query-named-block-nodes")
        return next(n["image"]["virtual-size"] for n in nodes if n["node-name"] == node)

    def end(self):
        self.ask("quit")
        assert self.process.wait(30) == 0


def nbd_node(server, name):
    address = {"type": "unix", "path": server.socket}
    return {"driver": "nbd", "node-name": name, "server": address, "export": "main/disk"}


bedplate("store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
with Server("--store", "main=store.img") as server:
    bedplate("volume", "create", "main/disk", "--size", str(10 * MIB))
    qemu = Qemu()
    assert qemu.ask("blockdev-add", **nbd_node(server, "one")) == {}
    raw = {"driver": "raw", "node-name": "disk", "file": "one"}
    assert qemu.ask("blockdev-add", **raw) == {}
    assert qemu.size("disk") == 10 * MIB
    said = bedplate("volume", "resize", "main/disk", str(20 * MIB))
    assert said.startswith("1 connection"), said
    # Nothing that is asked of the connection that there is shows the new size.
    error = qemu.ask("block_resize", **{"node-name": "one", "size": 20 * MIB})
    assert "grow" in error, error
    assert qemu.ask("blockdev-reopen", options=[nbd_node(server, "one")]) == {}
    assert qemu.size("one") == 10 * MIB
    # Another connection has it.
    assert qemu.ask("blockdev-add", **nbd_node(server, "two")) == {}
    assert qemu.ask("blockdev-reopen", options=[{**raw, "file": "two"}]) == {}
    assert qemu.ask("block_resize", **{"node-name": "disk", "size": 20 * MIB}) == {}
    assert qemu.ask("blockdev-del", **{"node-name": "one"}) == {}
    assert qemu.size("disk") == 20 * MIB
    qemu.end()
