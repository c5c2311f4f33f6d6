#!/usr/bin/python3
# A client that sends every byte on its own is served like any other, and holds nobody up.

import struct
import threading

from lib import KIB, READ, REQUEST_MAGIC, WRITE, Raw, Server, still_serves


class Slow(Raw):
    def send(self, data):
        for byte in data:
            self.sock.send(bytes([byte]))


with Server("--raw", "disk=mem:1M") as server:
    client = Slow(server)
    client.go(structured=True)
    half = struct.pack(">IHH", REQUEST_MAGIC, 0, WRITE)
    client.send(half)
    still_serves(server)
    client.send(struct.pack(">QQI", 7, 4 * KIB, 16 * KIB) + b"s" * 15 * KIB)
    still_serves(server)
    others = [threading.Thread(target=still_serves, args=(server,)) for _ in range(20)]
    for other in others:
        other.start()
    client.send(b"s" * KIB)
    assert client.error() == 0
    client.request(READ, 4 * KIB, 16 * KIB)
    for other in others:
        other.join()
    data = b"".join(payload[8:] for _, payload in client.chunks())
    assert data == b"s" * 16 * KIB
