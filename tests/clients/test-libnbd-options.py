#!/usr/bin/python3
# The handshake, option by option: list, info, metadata contexts, a wrong name, then go or abort.

import nbd
from lib import MIB, Server, expect_error


def negotiating(server):
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_unix(server.socket)
    return handle


with Server("--raw", "one=mem:1M", "--raw", "two=null:2M") as server:
    handle = negotiating(server)
    assert handle.get_protocol() == "newstyle-fixed"
    assert handle.get_structured_replies_negotiated()
    names = []
    assert handle.opt_list(lambda name, _description: names.append(name)) == 2
    assert sorted(names) == ["one", "two"]

    for name, size in (("one", MIB), ("two", 2 * MIB)):
        handle.set_export_name(name)
        handle.opt_info()
        assert handle.get_size() == size
    handle.set_full_info(True)
    handle.set_export_name("one")
    handle.opt_info()
    assert handle.get_canonical_export_name() == "one"
    assert handle.get_block_size(nbd.SIZE_MINIMUM) == 1
    assert handle.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB

    handle.set_export_name("nobody")
    expect_error("ENOENT|EINVAL", handle.opt_info)
    expect_error("ENOENT|EINVAL", handle.opt_go)

    handle.set_export_name("two")
    contexts = []
    handle.opt_list_meta_context(contexts.append)
    assert contexts == ["base:allocation"], contexts
    for query, found in (("base:", 1), ("base:allocation", 1), ("base:no", 0), ("x-no:", 0)):
        handle.clear_meta_contexts()
        handle.add_meta_context(query)
        assert handle.opt_list_meta_context(lambda _name: 0) == found, query

    handle.clear_meta_contexts()
    handle.add_meta_context("base:allocation")
    handle.add_meta_context("x-no:such")
    handle.opt_go()
    assert handle.can_meta_context("base:allocation")
    assert not handle.can_meta_context("x-no:such")
    assert handle.get_size() == 2 * MIB
    handle.shutdown()

    handle = negotiating(server)
    handle.opt_abort()
    assert handle.aio_is_closed()
