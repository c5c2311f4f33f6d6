#!/usr/bin/python3
# A disk of QEMU moves from a qcow2 file to a volume and back while a client writes to it: nothing
# of what the client wrote, before, during or after, is missing.

import os
import subprocess

import nbd
from lib import KIB, MIB, Server, bedplate, pattern
from qemu import Qemu, nbd_node

SIZE = 64 * MIB
SOCKET = os.path.abspath("qemu.sock")


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def qcow2_node(name, path):
    file = {"driver": "file", "filename": os.path.abspath(path)}
    return {"driver": "qcow2", "node-name": name, "file": file}


class Client:
    """Writes through QEMU, and knows what is there."""

    def __init__(self):
        self.wanted = bytearray(SIZE)
        self.handle = nbd.NBD()
        self.handle.set_export_name("disk")
        self.handle.connect_unix(SOCKET)
        self.count = 0

    def write(self):
        """Some bytes to somewhere, mostly to where nothing was yet."""
        self.count += 1
        offset = self.count * 7919 * 512 % (SIZE - MIB)
        data = pattern(self.count % 9 * 4 * KIB + 512, self.count)
        self.handle.pwrite(data, offset)
        self.wanted[offset : offset + len(data)] = data

    def compare(self, path):
        """Demands that this raw copy is what was written."""
        found = open(path, "rb").read()
        assert found == self.wanted, f"{path} is not what was written"


def mirror(qemu, client, source, target):
    """Moves what is above `source` to `target`, while the client writes."""
    where = {"device": source, "target": target}
    qemu.do("blockdev-mirror", **{"job-id": "move", "sync": "full", "auto-dismiss": False}, **where)
    for _ in range(50):
        client.write()
    qemu.await_job("move", "ready")
    for _ in range(50):
        client.write()
    qemu.do("job-complete", id="move")
    qemu.await_job("move", "concluded")
    qemu.do("job-dismiss", id="move")
    # From here on it is the target that is written to.
    qemu.do("blockdev-del", **{"node-name": source})
    for _ in range(50):
        client.write()
    client.handle.flush()


bedplate("store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
run("qemu-img", "create", "-q", "-f", "qcow2", "first.qcow2", str(SIZE))
run("qemu-img", "create", "-q", "-f", "qcow2", "second.qcow2", str(SIZE))
with Server("--store", "main=store.img") as server:
    bedplate("volume", "create", "main/disk", "--size", str(SIZE))
    with Qemu() as qemu:
        qemu.do("blockdev-add", **qcow2_node("first", "first.qcow2"))
        qemu.do("nbd-server-start", addr={"type": "unix", "data": {"path": SOCKET}})
        export = {"type": "nbd", "id": "door", "node-name": "first", "name": "disk"}
        qemu.do("block-export-add", writable=True, **export)
        client = Client()
        for _ in range(200):
            client.write()
        qemu.do("blockdev-add", **nbd_node("volume", server.socket, "main/disk"))
        mirror(qemu, client, "first", "volume")
        assert client.handle.pread(SIZE // 4, SIZE // 8) == client.wanted[SIZE // 8 : 3 * SIZE // 8]
        bedplate("volume", "export", "main/disk", "volume.raw")
        client.compare("volume.raw")

        qemu.do("blockdev-add", **qcow2_node("second", "second.qcow2"))
        mirror(qemu, client, "volume", "second")
        client.handle.shutdown()
run("qemu-img", "convert", "-O", "raw", "second.qcow2", "second.raw")
client.compare("second.raw")
