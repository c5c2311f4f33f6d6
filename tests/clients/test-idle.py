#!/usr/bin/python3
# With fifty connections open and nothing to do, the server uses no CPU at all.

import time

from lib import KIB, READ, Raw, Server

with Server("--raw", "disk=mem:1M", "--raw", "null=null:1M") as server:
    clients = [Raw(server) for _ in range(50)]
    for client in clients:
        client.go()
        client.request(READ, 0, 4 * KIB)
        client.simple_reply(4 * KIB)
    time.sleep(0.5)
    before = server.cpu_seconds()
    time.sleep(5)
    used = server.cpu_seconds() - before
    assert used <= 0.01, f"{used} s of CPU in 5 s of nothing"
