#!/usr/bin/python3
# Clients that speak nonsense before they have chosen an export get the protocol's error or a closed
# connection, and the server serves on.

import struct

from lib import ERR_INVALID, ERR_TOO_BIG, ERR_UNKNOWN, ERR_UNSUP, KIB, MIB, OPT_ABORT, OPT_GO
from lib import OPT_INFO, OPT_LIST, OPT_LIST_META, OPT_SET_META, OPT_STRUCTURED_REPLY, REP_ACK
from lib import Closed, Raw, Server, still_serves

with Server("--raw", "disk=mem:1M") as server:
    closed_at = {
        "client flags that do not exist": struct.pack(">I", 0xFFFFFFFC),
        "another magic": struct.pack(">I", 3) + b"NOTMAGIC" + struct.pack(">II", OPT_LIST, 0),
        "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "an option of 4 GiB": struct.pack(">I", 3) + b"IHAVEOPT\0\0\0\x03" + b"\xff" * 4,
    }
    for what, data in closed_at.items():
        client = Raw(server, flags=None)
        client.receive(18)
        client.send(data)
        assert client.is_closed(), what
        still_serves(server)

    client = Raw(server)
    assert client.option(0x12345)[0][0] == ERR_UNSUP
    assert client.option(0x12345, b"x" * 1000)[0][0] == ERR_UNSUP
    assert client.option(OPT_LIST, b"not empty")[0][0] == ERR_INVALID
    assert client.option(OPT_STRUCTURED_REPLY, b"not empty")[0][0] == ERR_INVALID
    assert client.option(OPT_INFO, b"\0\0\0\4nope\0\0")[0][0] == ERR_UNKNOWN
    few, many = b"\0\0\0\4di", b"\0\0\0\4disk\0\5\0\0"
    for bad in (b"", few, b"\xff\xff\xff\xffdisk\0\0", many, b"\0" * 99):
        assert client.option(OPT_GO, bad)[0][0] == ERR_INVALID, bad
    assert client.option(OPT_GO, b"\0\0\0\2\xff\xfe\0\0")[0][0] in (ERR_INVALID, ERR_UNKNOWN)
    assert client.option(OPT_SET_META, b"\0\0\0\4disk\0\0\0\0")[0][0] == ERR_INVALID, "too early"
    assert client.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b"")]
    for bad in (b"", b"\0\0\0\4disk", b"\0\0\0\4disk\0\0\0\1\0\0\0\x09base", b"\xff" * 12):
        assert client.option(OPT_LIST_META, bad)[0][0] == ERR_INVALID, bad
    assert client.option(OPT_SET_META, b"\0\0\0\4disk\xff\xff\xff\xff")[0][0] == ERR_INVALID
    assert client.option(OPT_LIST, b"x" * 200 * KIB)[0][0] in (ERR_TOO_BIG, ERR_INVALID)
    assert client.option(OPT_GO, b"\0\0\x20\0" + b"x" * 8 * KIB + b"\0\0")[0][0] & 1 << 31
    assert client.go()[0] == MIB, "after all that it may still choose"
    client.close()

    client = Raw(server)
    assert client.option(OPT_ABORT) == [(REP_ACK, b"")] and client.is_closed()

    client = Raw(server)
    client.send(b"IHAVEOPT\0\0\0\1\0\0\0\4nope")
    assert client.is_closed(), "EXPORT_NAME has no way to say no"

    # It may not haggle for ever.
    client = Raw(server)
    try:
        for _ in range(100_000):
            client.option(OPT_LIST)
        raise AssertionError("100,000 options and no end")
    except Closed:
        pass
    still_serves(server)
