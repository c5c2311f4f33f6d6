#!/usr/bin/python3
# Every command, with every flag that libnbd knows for it, does what it says: in structured and in
# simple mode.

import nbd
from lib import KIB, MIB, Server, sparse_file

sparse_file("disk.raw", 4 * MIB)
with Server("--raw", "disk=disk.raw") as server:
    for structured in (True, False):
        handle = server.connect(structured=structured)
        assert handle.get_structured_replies_negotiated() == structured
        assert handle.get_size() == 4 * MIB and not handle.is_read_only()
        assert handle.can_flush() and handle.can_fua() and handle.can_trim() and handle.can_zero()
        assert handle.can_cache() and handle.can_multi_conn()
        assert handle.can_df() == structured

        handle.pwrite(b"a" * 64 * KIB, 0)
        handle.pwrite(b"b" * 4 * KIB, 4 * KIB, nbd.CMD_FLAG_FUA)
        assert handle.pread(12 * KIB, 0) == b"a" * 4096 + b"b" * 4096 + b"a" * 4096
        with open("disk.raw", "rb") as file:
            file.seek(4 * KIB)
            assert file.read(4 * KIB) == b"b" * 4 * KIB, "FUA reached the file"
        handle.flush()

        handle.zero(4 * KIB, 0)
        handle.zero(4 * KIB, 8 * KIB, nbd.CMD_FLAG_NO_HOLE)
        handle.zero(4 * KIB, 16 * KIB, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
        handle.trim(4 * KIB, 24 * KIB)
        handle.trim(4 * KIB, 32 * KIB, nbd.CMD_FLAG_FUA)
        handle.cache(64 * KIB, 0)
        data = handle.pread(64 * KIB, 0)
        for block in range(16):
            found = data[block * 4096 : (block + 1) * 4096]
            wanted = {0: b"\0", 1: b"b", 2: b"\0", 4: b"\0", 6: b"\0", 8: b"\0"}.get(block, b"a")
            assert found == wanted * 4096, (structured, block, found[:16])
        handle.shutdown()
