#!/usr/bin/python3
# Hundreds of requests in flight on several connections, answered in any order, each with its own
# data; and a flush on one connection covers what was completed on another.

import nbd
from lib import KIB, MIB, Server, eventually, pattern, sparse_file

BLOCK, COUNT = 16 * KIB, 200
sparse_file("disk.raw", 32 * MIB)
with Server("--raw", "disk=disk.raw") as server:
    handles = [server.connect() for _ in range(4)]
    assert all(handle.can_multi_conn() for handle in handles)

    def finish():
        while any(handle.aio_in_flight() for handle in handles):
            for handle in handles:
                if handle.aio_in_flight():
                    handle.poll(10)

    for number, handle in enumerate(handles):
        for index in range(COUNT):
            data = nbd.Buffer.from_bytearray(bytearray(pattern(BLOCK, number * COUNT + index)))
            handle.aio_pwrite(data, (number * COUNT + index) * BLOCK)
    finish()
    handles[0].flush()
    with open("disk.raw", "rb") as file:
        for index in range(4 * COUNT):
            assert file.read(BLOCK) == pattern(BLOCK, index), index

    reads = []
    for number, handle in enumerate(handles):
        for index in range(COUNT):
            # Each connection reads what its neighbour wrote.
            block = (number + 1) % 4 * COUNT + index
            buffer = nbd.Buffer(BLOCK)
            handle.aio_pread(buffer, block * BLOCK)
            reads.append((block, buffer))
    finish()
    for block, buffer in reads:
        assert buffer.to_bytearray() == pattern(BLOCK, block), block
