#!/usr/bin/python3
# Random commands at odd offsets and lengths leave the disk as a model in memory says, on a disk
# whose size is a multiple of no block, on memory, and on volumes of a store. BEDPLATE_SEED repeats
# a run.

import os
import random
import subprocess

import nbd
from lib import KIB, MIB, Server, sparse_file

seed = int(os.environ.get("BEDPLATE_SEED", random.getrandbits(32)))
print(f"BEDPLATE_SEED={seed}")
chance = random.Random(seed)


def run(handle, steps):
    size = handle.get_size()
    model = bytearray(handle.pread(size, 0))
    for step in range(steps):
        length = chance.choice((1, 2, 511, 512, 513, 4095, 4096, 4097, 10000, 65536, 200001))
        length = min(size, chance.randint(1, length))
        offset = chance.choice((chance.randint(0, size - length), size - length))
        if chance.random() < 0.3:
            offset = min(offset // 4096 * 4096, size - length)
        deed = chance.choice(("read", "read", "write", "write", "write", "zero", "trim", "flush"))
        fua = nbd.CMD_FLAG_FUA if chance.random() < 0.1 else 0
        what = f"seed {seed} step {step}: {deed} {length} at {offset}"
        if deed == "read":
            assert handle.pread(length, offset) == model[offset : offset + length], what
        elif deed == "write":
            data = chance.randbytes(length)
            handle.pwrite(data, offset, fua)
            model[offset : offset + length] = data
        elif deed == "zero":
            handle.zero(length, offset, fua | chance.choice((0, nbd.CMD_FLAG_NO_HOLE)))
            model[offset : offset + length] = bytes(length)
        elif deed == "trim":
            # What trim leaves is up to the server: zeroes or what was there, byte by byte.
            handle.trim(length, offset, fua)
            found = handle.pread(length, offset)
            before = model[offset : offset + length]
            assert all(new in (0, old) for new, old in zip(found, before)), what
            model[offset : offset + length] = found
        else:
            handle.flush()
    assert handle.pread(size, 0) == model, f"seed {seed}: at the end"


sparse_file("even.raw", MIB)
sparse_file("sectors.raw", MIB + 3 * 512)
sparse_file("odd.raw", MIB + 333)
names = ("even", "sectors", "odd")
raws = [word for name in names for word in ("--raw", f"{name}={name}.raw")]
store = ("--store", "main=store.img")
volumes = {"main/even": MIB, "main/sectors": MIB + 3 * 512}
bedplate = os.environ["BEDPLATE"]
create = (bedplate, "store", "create", "store.img", "--size", "256M", "--segment-size", "1M")
subprocess.run(create, check=True)
for name, size in volumes.items():
    words = (bedplate, "volume", "create", name, "--size", str(size))
    subprocess.run((*words, *store), check=True)
with Server(*raws, "--raw", "memory=mem:1M", *store) as server:
    for name in (*names, "memory", *volumes):
        for structured in (True, False):
            print(name, structured)
            handle = server.connect(name, structured=structured)
            run(handle, 400)
            handle.shutdown()
    still = {name: server.connect(name).pread(MIB, 0) for name in (*names, *volumes)}
for name in names:
    assert open(f"{name}.raw", "rb").read(MIB) == still[name], name
with Server(*store) as server:
    for name in volumes:
        assert server.connect(name).pread(MIB, 0) == still[name], name
