#!/usr/bin/python3
# A structured read describes holes as holes and covers every byte exactly once; with DF the answer
# comes in one piece.

import nbd
from lib import KIB, MIB, Server, pattern, sparse_file

data = pattern(64 * KIB)
sparse_file("disk.raw", 4 * MIB, (256 * KIB, data), (MIB, data))
with open("disk.raw", "rb") as file:
    content = file.read()


def read(handle, offset, length, flags=0):
    """What the answer consists of, and the bytes that it gives."""
    pieces = []

    def chunk(buffer, at, status, _error):
        pieces.append((at, len(buffer), status))

    found = handle.pread_structured(length, offset, chunk, flags)
    assert found == content[offset : offset + length], (offset, length)
    at = offset
    for piece_offset, piece_length, _ in sorted(pieces):
        assert piece_offset == at and piece_length > 0, pieces
        at += piece_length
    assert at == offset + length, pieces
    return [status for _, _, status in sorted(pieces)]


with Server("--raw", "disk=disk.raw") as server:
    handle = server.connect()
    data_only, hole_only = [nbd.READ_DATA], [nbd.READ_HOLE]
    assert read(handle, 256 * KIB, 64 * KIB) == data_only
    assert read(handle, 2 * MIB, MIB) == hole_only
    assert read(handle, 128 * KIB, 256 * KIB) == hole_only + data_only + hole_only
    assert len(read(handle, 0, 4 * MIB)) <= 5
    assert len(read(handle, 128 * KIB, 256 * KIB, nbd.CMD_FLAG_DF)) == 1
    assert len(read(handle, 0, 4 * MIB, nbd.CMD_FLAG_DF)) == 1
    for offset, length in [(1, 1), (256 * KIB - 1, 2), (320 * KIB - 3, 7), (MIB - 999, 1999)]:
        read(handle, offset, length)
        assert len(read(handle, offset, length, nbd.CMD_FLAG_DF)) == 1
    handle.shutdown()
