#!/usr/bin/python3
# What QEMU sees of a volume that becomes larger while it has it open: nothing on the connection
# that it has, whatever it is asked, and all of it once its raw node stands on another connection.
# The README tells people so.


from lib import MIB, Server, bedplate
from qemu import Qemu, nbd_node


bedplate("store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
with Server("--store", "main=store.img") as server, Qemu() as qemu:
    bedplate("volume", "create", "main/disk", "--size", str(10 * MIB))
    qemu.do("blockdev-add", **nbd_node("one", server.socket, "main/disk"))
    raw = {"driver": "raw", "node-name": "disk", "file": "one"}
    qemu.do("blockdev-add", **raw)
    assert qemu.size("disk") == 10 * MIB
    said = bedplate("volume", "resize", "main/disk", str(20 * MIB))
    assert said.startswith("1 connection"), said
    # Nothing that is asked of the connection that there is shows the new size.
    error = qemu.ask("block_resize", **{"node-name": "one", "size": 20 * MIB})
    assert "grow" in error, error
    qemu.do("blockdev-reopen", options=[nbd_node("one", server.socket, "main/disk")])
    assert qemu.size("one") == 10 * MIB
    # Another connection has it.
    qemu.do("blockdev-add", **nbd_node("two", server.socket, "main/disk"))
    qemu.do("blockdev-reopen", options=[{**raw, "file": "two"}])
    qemu.do("block_resize", **{"node-name": "disk", "size": 20 * MIB})
    qemu.do("blockdev-del", **{"node-name": "one"})
    assert qemu.size("disk") == 20 * MIB
