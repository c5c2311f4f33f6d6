#!/usr/bin/python3
# Requests that are wrong get the protocol's error, change nothing, and leave the connection usable,
# in structured and in simple mode.

from lib import KIB, MIB, Server, expect_error, pattern

content = pattern(MIB)
with Server("--raw", "disk=mem:40M") as server:
    for structured in (True, False):
        handle = server.connect(structured=structured, strict=False, contexts=["base:allocation"])
        end = handle.get_size()
        handle.pwrite(content, 0)

        def usable():
            assert handle.pread(MIB, 0) == content

        for offset in (end - 4 * KIB + 1, end, end + MIB, 2**63 - 4 * KIB):
            expect_error("EINVAL", handle.pread, 4 * KIB, offset)
            expect_error("ENOSPC|EINVAL", handle.pwrite, b"x" * 4 * KIB, offset)
            expect_error("EINVAL", handle.trim, 4 * KIB, offset)
            expect_error("ENOSPC|EINVAL", handle.zero, 4 * KIB, offset)
            expect_error("EINVAL", handle.cache, 4 * KIB, offset)
            usable()
        for call in (handle.trim, handle.zero, handle.cache):
            expect_error("EINVAL|ENOSPC", call, 4 * KIB, 2**63 - 1)
        expect_error("EINVAL", handle.pread, 512, 0, 1 << 14)
        expect_error("EINVAL", handle.pwrite, b"x" * 512, 0, 1 << 14)
        expect_error("EINVAL", handle.flush, 1 << 14)
        usable()
        # The longest request that is served, and the first that is too long.
        big = 32 * MIB
        handle.pwrite(b"y" * big, 4 * MIB)
        assert handle.pread(big, 4 * MIB) == b"y" * big
        expect_error("EINVAL|EOVERFLOW|ENOMEM", handle.pread, big + MIB, MIB)
        expect_error("EINVAL|EOVERFLOW|ENOMEM", handle.pwrite, b"z" * (big + MIB), MIB)
        usable()
        # Nothing of nothing: the protocol leaves it open, so no error is as good as EINVAL.
        for call in (handle.trim, handle.zero, handle.cache):
            try:
                call(0, 0)
            except Exception as error:
                assert error.errno == "EINVAL", error
        usable()
        handle.shutdown()
