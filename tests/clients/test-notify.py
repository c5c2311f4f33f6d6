#!/usr/bin/python3
# A service manager is told when the server is ready and when it is stopping, and what it is at.

import os
import signal
import socket

from lib import Server

manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("notify.sock")
manager.settimeout(10)
os.environ["NOTIFY_SOCKET"] = os.path.abspath("notify.sock")
with Server("--raw", "disk=mem:1M") as server:
    assert b"STATUS=Opening" in manager.recv(4096)
    ready = manager.recv(4096)
    assert b"READY=1" in ready and b"STATUS=Listening at unix:" in ready, ready
    server.process.send_signal(signal.SIGTERM)
    stopping = manager.recv(4096)
    assert b"STOPPING=1" in stopping and b"STATUS=Finishing" in stopping, stopping
    # A second SIGTERM, while it is stopping, would mean to end at once.
    assert server.process.wait(20) == 0
