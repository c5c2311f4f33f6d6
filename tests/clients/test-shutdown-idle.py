#!/usr/bin/python3
# SIGTERM with clients that are connected and silent, or in the middle of a handshake, or in the
# middle of a payload: the server still exits 0, within its drain timeout.

import signal
import time

from lib import KIB, WRITE, Raw, Server

with Server("--raw", "disk=mem:1M") as server:
    silent, early, halfway = Raw(server), Raw(server, flags=None), Raw(server)
    silent.go()
    halfway.go()
    halfway.request(WRITE, 0, 64 * KIB, data=b"x" * 100)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    print(f"{time.monotonic() - began:.1f} s")
    assert silent.is_closed() and early.is_closed() and halfway.is_closed()
