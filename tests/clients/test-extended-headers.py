#!/usr/bin/python3
# Extended headers, byte by byte: 64-bit lengths for effects, replies that repeat the offset, block
# status in 64 bits with a filter of contexts, and the same bounds on what is carried.

import struct

from lib import CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS_EXT, EINVAL, EOVERFLOW, FAST_ZERO, GIB, KIB
from lib import MIB, OPT_EXTENDED_HEADERS, PAYLOAD_LEN, READ, REP_ACK, REQ_ONE
from lib import STATUS, TIB, TRIM, WRITE, ZERO, Raw, Server, pattern, sparse_file

data = pattern(64 * KIB)
sparse_file("disk.raw", 5 * TIB, (4 * TIB, data))
with Server("--raw", "disk=disk.raw") as server:
    client = Raw(server)
    assert client.option(OPT_EXTENDED_HEADERS) == [(REP_ACK, b"")]
    contexts = client.set_contexts(b"disk", b"base:allocation")
    client.extended = True
    size, _flags = client.go()
    assert size == 5 * TIB
    number = contexts[b"base:allocation"]

    def status(offset, length, flags=0, filter=b""):
        client.request(STATUS, offset, len(filter) or length, flags, filter)
        (kind, payload), = client.chunks()
        assert kind == CHUNK_STATUS_EXT, (hex(kind), payload)
        context, count = struct.unpack(">II", payload[:8])
        entries = struct.unpack(f">{2 * count}Q", payload[8:])
        assert context == number and len(payload) == 8 + 16 * count
        return list(zip(entries[::2], entries[1::2]))

    assert status(0, 5 * TIB) == [(4 * TIB, 3), (64 * KIB, 0), (TIB - 64 * KIB, 3)]
    assert status(GIB, 4 * TIB, REQ_ONE) == [(4 * TIB - GIB, 3)]
    payload = struct.pack(">QI", 3 * TIB, number)
    length, flags = status(0, 0, PAYLOAD_LEN, payload)[0]
    assert length >= 3 * TIB and flags == 3
    client.request(STATUS, 0, 12, PAYLOAD_LEN, struct.pack(">QI", 3 * TIB, number + 1))
    assert client.error() == EINVAL, "a context that nobody selected"

    client.request(WRITE, 100 * GIB, 4 * KIB, PAYLOAD_LEN, b"e" * 4 * KIB)
    assert client.error() == 0
    # QEMU leaves the flag out; there is only one thing it can mean.
    client.request(WRITE, 100 * GIB + KIB, KIB, 0, b"e" * KIB)
    assert client.error() == 0
    client.request(READ, 100 * GIB, 8 * KIB)
    found = bytearray(8 * KIB)
    for kind, payload in client.chunks():
        at = struct.unpack(">Q", payload[:8])[0] - 100 * GIB
        assert kind in (CHUNK_DATA, CHUNK_HOLE)
        if kind == CHUNK_DATA:
            found[at : at + len(payload) - 8] = payload[8:]
    assert found == b"e" * 4 * KIB + bytes(4 * KIB)

    client.request(ZERO, 0, 3 * TIB, FAST_ZERO)
    assert client.error() == 0
    client.request(TRIM, 4 * TIB, TIB)
    assert client.error() == 0
    assert status(0, 5 * TIB) == [(5 * TIB, 3)]

    for command, offset, length in (
        (READ, 0, 33 * MIB),
        (READ, 0, 2**63),
        (READ, 5 * TIB, 1),
        (TRIM, 1, 2**64 - 1),
        (ZERO, TIB, 5 * TIB),
    ):
        client.request(command, offset, length)
        assert client.error() in (EINVAL, EOVERFLOW, 28), (command, offset, length)
    client.request(WRITE, 0, 33 * MIB, PAYLOAD_LEN, bytes(33 * MIB))
    assert client.error() in (EINVAL, EOVERFLOW), "drained"
    assert status(0, 5 * TIB) == [(5 * TIB, 3)], "in step"
    client.send(b"\x25\x60\x95\x13" + bytes(24))
    assert client.is_closed(), "a compact header after extended ones were agreed on"
