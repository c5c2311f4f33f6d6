#!/usr/bin/python3
# SIGTERM in the middle of the work: what was answered is in the file, clients are let go, and the
# server exits 0 in good time.

import signal
import time

import nbd
from lib import KIB, MIB, Server, pattern, sparse_file

BLOCK = 64 * KIB
sparse_file("disk.raw", 256 * MIB)
with Server("--raw", "disk=disk.raw") as server:
    handles = [server.connect() for _ in range(3)]
    sent, began = [], time.monotonic()
    asked_to_stop = False
    while not all(handle.aio_is_dead() or handle.aio_is_closed() for handle in handles):
        for handle in handles:
            try:
                while handle.aio_is_ready() or handle.aio_is_processing():
                    if handle.aio_in_flight() >= 64:
                        break
                    index = len(sent)
                    data = nbd.Buffer.from_bytearray(bytearray(pattern(BLOCK, index)))
                    place = index * BLOCK % (256 * MIB)
                    sent.append((handle, handle.aio_pwrite(data, place), place, index))
                handle.poll(1)
            except nbd.Error:
                pass
        if not asked_to_stop and time.monotonic() > began + 0.5:
            asked_to_stop = True
            server.process.send_signal(signal.SIGTERM)
        assert time.monotonic() < began + 40, "the server does not let go"
    assert server.process.wait(20) == 0
    latest = {}
    for handle, cookie, place, index in sent:
        try:
            done = handle.aio_command_completed(cookie)
        except nbd.Error:
            done = False
        latest.setdefault(place, []).append((index, done))
    with open("disk.raw", "rb") as file:
        for place, writes in latest.items():
            file.seek(place)
            found = file.read(BLOCK)
            # The last write that was answered, or a later one that may have been done.
            answered = [at for at, (_, done) in enumerate(writes) if done]
            if answered:
                allowed = [pattern(BLOCK, index) for index, _ in writes[answered[-1] :]]
                assert found in allowed, f"an answered write at {place} is not there"
    answered = sum(done for writes in latest.values() for _, done in writes)
    assert answered > 0
    print(f"{answered} of {len(sent)} writes were answered")
