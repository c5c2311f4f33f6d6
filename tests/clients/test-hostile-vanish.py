#!/usr/bin/python3
# Clients that vanish with 128 requests in flight, or in the middle of a payload, leave nothing
# behind: what they sent whole is done, their connections are closed, the server serves on.

import random
import socket
import struct

from lib import FLUSH, KIB, MIB, READ, REQUEST_MAGIC, WRITE, Raw, Server, eventually, sparse_file
from lib import still_serves

sparse_file("disk.raw", 16 * MIB)
with Server("--raw", "disk=disk.raw") as server:
    still_serves(server)
    descriptors = server.descriptors()
    for turn in range(60):
        client = Raw(server)
        client.go(structured=turn % 2 == 0)
        requests = b""
        for index in range(128):
            command = random.choice((READ, WRITE, FLUSH))
            length = 0 if command == FLUSH else 32 * KIB
            requests += struct.pack(">IHH", REQUEST_MAGIC, 0, command)
            requests += struct.pack(">QQI", index, index * 64 * KIB, length)
            requests += b"v" * length if command == WRITE else b""
        cut = len(requests) if turn % 3 else random.randrange(len(requests))
        try:
            client.sock.settimeout(0.2)
            client.sock.sendall(requests[:cut])
        except TimeoutError:
            pass
        if turn % 4 == 0:
            client.sock.shutdown(socket.SHUT_RD)
        client.close()
    still_serves(server)
    eventually(lambda: server.descriptors() <= descriptors, "descriptors are closed", 20)
    rss = server.rss_bytes()
    assert rss < 256 * MIB, f"{rss >> 20} MiB"
