#!/usr/bin/python3
# A thousand connections at once are all served, in little memory; when they have gone, so has
# everything that was theirs.

from lib import KIB, MIB, READ, WRITE, Raw, Server, eventually, still_serves

COUNT = 1000

with Server("--raw", "disk=mem:8M") as server:
    still_serves(server)
    descriptors, before = server.descriptors(), server.rss_bytes()
    clients = [Raw(server) for _ in range(COUNT)]
    for client in clients:
        client.go()
    for number, client in enumerate(clients):
        client.request(WRITE, number * 8 * KIB, 8 * KIB, data=number.to_bytes(8) * KIB)
    assert all(client.simple_reply()[0] == 0 for client in clients)
    for client in clients:
        client.request(READ, 0, 64 * KIB)
    for client in clients:
        error, _cookie, data = client.simple_reply(64 * KIB)
        assert error == 0 and data[-8:] == (7).to_bytes(8)
    cost = server.rss_bytes() - before - 8 * MIB
    assert cost < 256 * MIB, f"{COUNT} connections cost {cost >> 20} MiB"
    print(f"{COUNT} connections cost {cost >> 10} KiB")
    still_serves(server)
    for client in clients:
        client.close()
    eventually(lambda: server.descriptors() <= descriptors, "descriptors are closed")
    still_serves(server)
