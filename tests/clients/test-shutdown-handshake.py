#!/usr/bin/python3
# SIGTERM with a client in the middle of its handshake: what it asks for next is answered with
# NBD_REP_ERR_SHUTDOWN, and the server exits 0.

import signal

from lib import ERR_SHUTDOWN, OPT_LIST, REP_ACK, Raw, Server, eventually

with Server("--raw", "disk=mem:1M") as server:
    client = Raw(server)
    assert client.option(OPT_LIST)[-1][0] == REP_ACK
    server.process.send_signal(signal.SIGTERM)

    eventually(
        lambda: client.option(OPT_LIST)[-1][0] == ERR_SHUTDOWN,
        "the client is told",
    )
    client.close()
    assert server.process.wait(20) == 0
