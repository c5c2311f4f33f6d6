#!/usr/bin/python3
# Limits with real clients: flushes overtake what waits, a client that is killed takes what waits
# with it, and SIGTERM ends the server soon with all that was begun done.

import os
import signal
import subprocess
import sys
import time

import nbd
from lib import KIB, MIB, Server, eventually, pattern, sparse_file

LIMITS = """
[qos.slow]
iops = 1
[qos.one]
group = "gold"
[qos.two]
group = "gold"
iops = 100000
burst_iops = 200000
burst_seconds = 2
[group.gold]
bps = "1T"
"""

sparse_file("slow.raw", 16 * MIB)
with open("limits.toml", "w") as file:
    file.write('[raw.slow]\nurl = "slow.raw"\n')
    file.write("".join(f'[raw.{name}]\nurl = "mem:16M"\n' for name in ("free", "one", "two")))
    file.write(LIMITS)


def write_many(handle, count):
    """Starts so many writes; a slow export answers few of them."""
    started = []
    for index in range(count):
        data = nbd.Buffer.from_bytearray(bytearray(pattern(4 * KIB, index)))
        started.append(handle.aio_pwrite(data, index * 4 * KIB))
        handle.poll(0)
    return started


with Server("--config", "limits.toml") as server:
    for name in ("free", "one", "two"):
        handle = server.connect(name)
        for index in range(64):
            handle.pwrite(pattern(4 * KIB, index), index * 4 * KIB)
        assert handle.pread(4 * KIB, 4 * KIB) == pattern(4 * KIB, 1)
        handle.shutdown()

    # A process of its own, so that the kernel closes its socket in the middle of everything.
    script = f"""
import sys
sys.path.insert(0, {os.environ["CLIENTS"]!r})
import nbd, time
handle = nbd.NBD()
handle.set_export_name("slow")
handle.connect_unix({server.socket!r})
for index in range(400):
    handle.aio_pread(nbd.Buffer(4096), 0)
    handle.poll(0)
print("asked", flush=True)
while True:
    handle.poll(-1)
"""
    killed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert killed.stdout.readline() == "asked\n"
    before = server.descriptors()
    killed.kill()
    killed.wait()
    eventually(lambda: server.descriptors() < before, "the killed client is forgotten")

    slow = server.connect("slow")
    started = write_many(slow, 100)
    answered = [slow.aio_command_completed(cookie) for cookie in started]
    # Nothing takes turns with the hundred that would take a hundred seconds.
    began = time.monotonic()
    flushed = slow.aio_flush()
    while not slow.aio_command_completed(flushed):
        slow.poll(-1)
    left = [cookie for cookie, done in zip(started, answered) if not done]
    done = {cookie for cookie in left if slow.aio_command_completed(cookie)}
    assert len(done) < len(left), "a flush waits until everything before it is done"

    server.process.send_signal(signal.SIGTERM)
    left = [cookie for cookie in left if cookie not in done]
    while left:
        slow.poll(-1)
        left = [cookie for cookie in left if not slow.aio_command_completed(cookie)]
    assert server.process.wait(20) == 0
    print(f"stopped {time.monotonic() - began:.1f} s after the flush")

with open("slow.raw", "rb") as file:
    for index in range(100):
        assert file.read(4 * KIB) == pattern(4 * KIB, index), f"write {index} is lost"
