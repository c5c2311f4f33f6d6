#!/usr/bin/python3
# A client that asks for gigabytes and never reads an answer is held back: the server's memory stays
# bounded, by connection and in all, and other clients are served meanwhile.

import threading
import time

from lib import FLUSH, MIB, READ, Closed, Raw, Server, still_serves


def ask(client, seconds):
    """Asks for 4 GiB in pieces, or until the server has been silent for that long."""
    client.sock.settimeout(seconds)
    try:
        for _ in range(4096):
            client.request(READ, 0, MIB)
        for _ in range(100_000):
            client.request(FLUSH, 0, 0)
        return "asked for everything"
    except TimeoutError:
        return "held back"
    except Closed:
        return "closed"


with Server("--raw", "disk=mem:64M", "--threads", "1") as server:
    before = server.rss_bytes()
    greedy = Raw(server)
    greedy.go()
    assert ask(greedy, 2) == "held back"
    one = server.rss_bytes() - before
    assert one < 128 * MIB, f"one such client costs {one >> 20} MiB"
    still_serves(server)

    crowd = [Raw(server) for _ in range(16)]
    for client in crowd:
        client.go()
    threads = [threading.Thread(target=ask, args=(client, 2)) for client in crowd]
    for thread in threads:
        thread.start()
    time.sleep(1)
    still_serves(server)
    for thread in threads:
        thread.join()
    many = server.rss_bytes() - before
    assert many < 768 * MIB, f"seventeen such clients cost {many >> 20} MiB"
    began = time.monotonic()
    still_serves(server)
    assert time.monotonic() - began < 15, "a decent client waits for the greedy ones"
    print(f"one: {one >> 20} MiB, seventeen: {many >> 20} MiB")
    for client in (greedy, *crowd):
        client.close()
    still_serves(server)
