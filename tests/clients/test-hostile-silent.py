#!/usr/bin/python3
# A client that says nothing before it has chosen an export, or one byte a second, is closed after a
# while. One that has chosen may be silent for as long as it likes.

import time

from lib import KIB, READ, Closed, Raw, Server, still_serves

PATIENCE_SECONDS = 45

with Server("--raw", "disk=mem:1M") as server:
    chosen = Raw(server)
    chosen.go()
    silent, dripping = Raw(server, flags=None), Raw(server)
    word, sent = b"IHAVEOPT\0\0\0\3\0\0\xff\xff" + bytes(100), 0
    began = time.monotonic()
    try:
        while time.monotonic() < began + PATIENCE_SECONDS:
            dripping.send(word[sent : sent + 1])
            sent += 1
            time.sleep(1)
        raise AssertionError("one byte a second, and no end")
    except Closed:
        pass
    silent.sock.settimeout(PATIENCE_SECONDS - 30)
    assert silent.is_closed(), "the silent client is still there"
    still_serves(server)
    chosen.request(READ, 0, 4 * KIB)
    assert chosen.simple_reply(4 * KIB)[0] == 0
