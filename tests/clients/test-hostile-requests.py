#!/usr/bin/python3
# Requests that no decent client sends get the protocol's error, their payload is drained so that
# the stream stays in step, and what cannot be kept in step is closed.

from lib import CACHE, DF, DISC, EINVAL, ENOSPC, EOVERFLOW, FLUSH, KIB, MIB, READ, REQ_ONE
from lib import STATUS, TRIM, WRITE, ZERO, Closed, Raw, Server, still_serves

with Server("--raw", "disk=mem:40M") as server:
    # Simple replies.
    client = Raw(server)
    size, _flags = client.go()
    client.request(WRITE, 0, 4 * KIB, data=b"a" * 4 * KIB)
    assert client.simple_reply()[0] == 0

    def in_step(cookie):
        client.request(READ, 0, 4 * KIB, cookie=cookie)
        assert client.simple_reply(4 * KIB) == (0, cookie, b"a" * 4 * KIB)

    for cookie, command in enumerate((4096, 9, 77, 65535)):
        client.request(command, 0, 4 * KIB)
        assert client.simple_reply()[0] == EINVAL, command
        in_step(cookie)
    for offset in (size, size - 1, 2**63, 2**64 - 1, 2**64 - 4 * KIB):
        for command in (READ, TRIM, ZERO, CACHE):
            client.request(command, offset, 4 * KIB)
            assert client.simple_reply()[0] in (EINVAL, ENOSPC), (command, offset)
        client.request(WRITE, offset, 4 * KIB, data=b"x" * 4 * KIB)
        assert client.simple_reply()[0] in (EINVAL, ENOSPC), offset
        in_step(offset)
    for flags in (1 << 15, DF, REQ_ONE):
        client.request(WRITE, 0, 4 * KIB, flags, data=b"x" * 4 * KIB)
        assert client.simple_reply()[0] == EINVAL, flags
        in_step(flags)
    client.request(STATUS, 0, 4 * KIB)
    assert client.simple_reply()[0] == EINVAL, "block status that nobody agreed on"
    client.request(WRITE, 0, 33 * MIB, data=b"x" * 33 * MIB)
    assert client.simple_reply()[0] in (EINVAL, EOVERFLOW), "drained"
    in_step(1)
    client.request(READ, 0, 2**32 - 1)
    assert client.simple_reply()[0] in (EINVAL, EOVERFLOW)
    in_step(2)
    client.request(FLUSH, 12345, 678)
    assert client.simple_reply()[0] in (0, EINVAL), "flush takes no range"
    client.request(DISC, 0, 0)
    assert client.is_closed()

    # Structured replies: the same errors, as chunks.
    client = Raw(server)
    client.go(structured=True)
    for command, flags in ((77, 0), (READ, 1 << 15), (STATUS, 0)):
        client.request(command, 0, 4 * KIB, flags)
        assert client.error() == EINVAL, (command, flags)
    client.request(READ, size - 1, 2)
    assert client.error() in (EINVAL, ENOSPC)

    # A wrong magic means that nobody knows where the next request begins.
    client.send(b"\xde\xad\xbe\xef" * 7)
    assert client.is_closed()
    # An endless payload is not drained for ever, or is, in bounded memory.
    before = server.rss_bytes()
    client = Raw(server)
    client.go()
    client.request(WRITE, 0, 2**32 - 1)
    try:
        for _ in range(200):
            client.send(bytes(MIB))
    except Closed:
        pass
    assert server.rss_bytes() < before + 100 * MIB
    client.close()
    still_serves(server)
