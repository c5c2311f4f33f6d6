#!/usr/bin/python3
# A service manager is told when the server is ready and when it is stopping.

import os
import signal
import socket

from lib import Server

manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("notify.sock")
manager.settimeout(10)
os.environ["NOTIFY_SOCKET"] = os.path.abspath("notify.sock")
with Server("--raw", "disk=mem:1M") as server:
    assert b"READY=1" in manager.recv(4096)
    server.process.send_signal(signal.SIGTERM)
    assert b"STOPPING=1" in manager.recv(4096)
    # A second SIGTERM, while it is stopping, would mean to end at once.
    assert server.process.wait(20) == 0
