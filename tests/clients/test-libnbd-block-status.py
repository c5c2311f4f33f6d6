#!/usr/bin/python3
# Block status tells data from holes at any offset and length, and never says hole where data is.

import nbd
from lib import KIB, MIB, Server, pattern, sparse_file

CONTEXT = nbd.CONTEXT_BASE_ALLOCATION
HOLE_AND_ZERO = nbd.STATE_HOLE | nbd.STATE_ZERO
data = pattern(64 * KIB)
sparse_file("disk.raw", 4 * MIB, (256 * KIB, data), (MIB, data))


def status(handle, offset, length, flags=0):
    """The extents of one answer: (length, flags) each."""
    found = []

    def extent(context, at, entries, _error):
        assert context == CONTEXT and at == offset
        found.extend(zip(entries[::2], entries[1::2]))

    handle.block_status(length, offset, extent, flags)
    assert all(entry[0] > 0 for entry in found), found
    return found


def cut(extents, length):
    """The extents up to a length; neighbours of one kind become one."""
    cut_extents, at = [], 0
    for size, flags in extents:
        size = min(size, length - at)
        at += size
        if cut_extents and cut_extents[-1][1] == flags:
            cut_extents[-1] = (cut_extents[-1][0] + size, flags)
        elif size > 0:
            cut_extents.append((size, flags))
    return cut_extents


with Server("--raw", "disk=disk.raw") as server:
    handle = server.connect(contexts=[CONTEXT])
    assert handle.can_meta_context(CONTEXT)
    assert cut(status(handle, 0, 4 * MIB), 4 * MIB) == [
        (256 * KIB, HOLE_AND_ZERO),
        (64 * KIB, 0),
        (704 * KIB, HOLE_AND_ZERO),
        (64 * KIB, 0),
        (3008 * KIB, HOLE_AND_ZERO),
    ]
    assert cut(status(handle, 256 * KIB + 1, 5), 5) == [(5, 0)]
    assert cut(status(handle, 320 * KIB - 1, 4), 4) == [(1, 0), (3, HOLE_AND_ZERO)]
    for offset in (0, 256 * KIB, 300 * KIB + 7, 4 * MIB - 1):
        one = status(handle, offset, min(MIB, 4 * MIB - offset), nbd.CMD_FLAG_REQ_ONE)
        assert len(one) == 1 and one[0][0] <= MIB, one
    assert server.connect().can_meta_context(CONTEXT) is False, "nobody asked for it"
    handle.shutdown()
