#!/usr/bin/python3
# A read-only export says so, refuses every change with EPERM and goes on serving reads. Its file
# stays as it was, and may be read-only itself.

import os

from lib import KIB, MIB, Server, expect_error, pattern

content = pattern(MIB)
with open("disk.raw", "wb") as file:
    file.write(content)
os.chmod("disk.raw", 0o444)
with Server("--raw", "disk=disk.raw", "--read-only", "disk") as server:
    for structured in (True, False):
        handle = server.connect(structured=structured, strict=False)
        assert handle.is_read_only()
        expect_error("EPERM", handle.pwrite, b"x" * 64 * KIB, 0)
        expect_error("EPERM", handle.trim, 4 * KIB, 0)
        expect_error("EPERM", handle.zero, 4 * KIB, 0)
        expect_error("EPERM", handle.pwrite, b"x", 1)
        assert handle.pread(MIB, 0) == content
        handle.flush()
        handle.cache(MIB, 0)
        handle.shutdown()
assert open("disk.raw", "rb").read() == content
