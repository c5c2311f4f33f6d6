#!/usr/bin/python3
# Write zeroes keeps its contract: NO_HOLE leaves the space allocated, without it the space may go,
# and FAST_ZERO either is fast or refuses with ENOTSUP and changes nothing.

import os
import time

import nbd
from lib import KIB, MIB, Server


def allocated():
    return os.stat("disk.raw").st_blocks * 512


with open("disk.raw", "wb") as file:
    file.write(b"x" * 64 * MIB)
    os.fsync(file.fileno())
with Server("--raw", "disk=disk.raw") as server:
    handle = server.connect()
    full = allocated()
    handle.zero(8 * MIB, 0, nbd.CMD_FLAG_NO_HOLE)
    handle.flush()
    assert allocated() >= full, "NO_HOLE gave space back"
    handle.zero(8 * MIB, 8 * MIB)
    handle.flush()
    assert allocated() <= full - 7 * MIB, "a hole was allowed and not made"
    assert handle.pread(16 * MIB, 0) == bytes(16 * MIB)

    if handle.can_fast_zero():
        for flags in (nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE):
            before = handle.pread(32 * MIB, 16 * MIB)
            began = time.monotonic()
            try:
                handle.zero(32 * MIB, 16 * MIB, flags)
                assert time.monotonic() - began < 0.5, "this is not fast"
                assert handle.pread(32 * MIB, 16 * MIB) == bytes(32 * MIB)
            except nbd.Error as error:
                assert error.errno == "ENOTSUP", error.errno
                assert handle.pread(32 * MIB, 16 * MIB) == before
        # A range that does not end at blocks is either refused as a whole or done as a whole.
        before = handle.pread(16 * KIB, 60 * MIB)
        try:
            handle.zero(5000, 60 * MIB + 100, nbd.CMD_FLAG_FAST_ZERO)
            before = before[:100] + bytes(5000) + before[5100:]
        except nbd.Error as error:
            assert error.errno == "ENOTSUP", error.errno
        assert handle.pread(16 * KIB, 60 * MIB) == before
    handle.shutdown()
