#!/usr/bin/python3
# The log goes where it is told, as text or as JSON, and a new file is begun on SIGHUP.

import json
import os
import signal

from lib import Server, eventually, still_serves


def lines(path):
    return open(path).read().splitlines() if os.path.exists(path) else []


with Server("--raw", "disk=mem:1M", "--log-file", "server.log", "--log-format", "json") as server:
    still_serves(server)
    assert lines("server.log") and all(json.loads(line) for line in lines("server.log"))
    os.rename("server.log", "old.log")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: os.path.exists("server.log"), "a new log file")
    still_serves(server)
assert any("stopping" in line for line in lines("server.log"))
assert open("server.err").read() == ""
