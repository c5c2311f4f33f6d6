#!/usr/bin/python3
# Old clients that know only the first way to choose an export are served, with and without the
# 124 zero bytes that it ends with.

import nbd
from lib import KIB, MIB, Server

with Server("--raw", "disk=mem:1M") as server:
    for flags in (
        0,
        nbd.HANDSHAKE_FLAG_NO_ZEROES,
        nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE,
        nbd.HANDSHAKE_FLAG_MASK,
    ):
        handle = nbd.NBD()
        handle.set_handshake_flags(flags)
        handle.set_export_name("disk")
        handle.connect_unix(server.socket)
        assert handle.get_size() == MIB
        handle.pwrite(bytes([flags + 1]) * 4 * KIB, 0)
        assert handle.pread(4 * KIB, 0) == bytes([flags + 1]) * 4 * KIB
        handle.shutdown()
