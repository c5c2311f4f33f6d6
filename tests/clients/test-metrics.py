#!/usr/bin/python3
# What monitoring is told: metrics that parse and count what was done, whether the server lives, and
# whether everything it serves is well.

import json
import os
import re
import subprocess

from lib import KIB, Server

SAMPLE = re.compile(r'^([a-z_]+)(\{([a-z]+="([^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|\+Inf)$')


def get(path, *words):
    """The status and the text that curl gets."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", *words, f"http://{address}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def metrics():
    """Every number by its name and labels; and the text has to be as the format demands."""
    status, text = get("/metrics")
    assert status == 200, text
    found, families = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, f"{name} comes twice"
            families[name] = kind
            last = name
        elif not line.startswith("# HELP "):
            assert SAMPLE.match(line), line
            assert line.startswith(last), f"{line} among {last}"
            name, _, value = line.rpartition(" ")
            assert name not in found, f"{name} comes twice"
            found[name] = float(value)
    assert all(kind in ("counter", "gauge", "histogram") for kind in families.values())
    return found


def tool(*words):
    subprocess.run([os.environ["BEDPLATE"], *words], check=True, stdout=subprocess.DEVNULL)


tool("store", "create", "store.img", "--size", "256M")
tool("volume", "create", "main/vm1", "--size", "16M", "--store", "main=store.img")
with open("server.toml", "w") as file:
    file.write('metrics = "127.0.0.1:0"\n[store.main]\nurl = "store.img"\n')
    file.write('[raw.disk]\nurl = "mem:16M"\n[raw."a\\"b"]\nurl = "mem:1M"\n')
    file.write("[qos.disk]\nwrite_iops = 100\n")
with Server("--config", "server.toml", "--log-format", "json") as server:
    lines = [json.loads(line) for line in open("server.err")]
    (address,) = [line["fields"]["metrics"] for line in lines if "metrics" in line["fields"]]
    assert get("/healthz") == (200, "ok\n")
    assert get("/readyz") == (200, "ready\n")
    assert get("/")[0] == 404
    assert get("/metrics", "-X", "POST", "-d", "x")[0] == 405
    before = metrics()
    assert before["bedplate_ready"] == 1
    assert before["bedplate_connections"] == 0
    assert not any(name.startswith("bedplate_request") for name in before)

    disk = server.connect("disk", strict=False)
    for index in range(50):
        disk.pwrite(b"x" * 4 * KIB, index * 4 * KIB)
    for index in range(30):
        disk.pread(2 * KIB, index * 4 * KIB)
    disk.flush()
    disk.trim(64 * KIB, 0)
    disk.zero(32 * KIB, 0)
    odd = server.connect('a"b')
    odd.pread(512, 0)
    stored = server.connect("main/vm1")
    for index in range(20):
        stored.pwrite(bytes([index + 1]) * 4 * KIB, index * 4 * KIB)
    stored.flush()
    stored.pread(64 * KIB, 0)
    after = metrics()
    assert after["bedplate_connections"] == 3

    def count(kind, op, volume="disk"):
        return after[f'bedplate_request_{kind}{{volume="{volume}",op="{op}"}}']

    for op, requests, length in [
        ("write", 50, 4 * KIB),
        ("read", 30, 2 * KIB),
        ("flush", 1, 0),
        ("discard", 1, 64 * KIB),
        ("write_zeroes", 1, 32 * KIB),
    ]:
        assert count("duration_seconds_count", op) == requests, op
        assert count("bytes_total", op) == requests * length, op
        assert count("errors_total", op) == 0, op
    assert count("bytes_total", "read", 'a\\"b') == 512
    assert count("bytes_total", "write", "main/vm1") == 80 * KIB
    buckets = [
        value
        for name, value in after.items()
        if name.startswith('bedplate_request_duration_seconds_bucket{volume="disk",op="write"')
    ]
    assert buckets == sorted(buckets) and buckets[-1] == 50
    assert after['bedplate_qos_waits_total{volume="disk"}'] > 0
    assert after['bedplate_qos_wait_seconds_total{volume="disk"}'] > 0
    assert after['bedplate_store_client_bytes_total{store="main"}'] == 80 * KIB
    assert after['bedplate_store_dedup_miss_bytes_total{store="main"}'] == 80 * KIB
    assert after['bedplate_store_log_bytes_total{store="main"}'] > 0
    assert after['bedplate_store_checkpoints_total{store="main"}'] >= 1
    assert after['bedplate_store_physical_bytes{store="main"}'] > 200 << 20

    # Whoever connects and says nothing does not keep others from being answered.
    command = ["curl", "-sS", f"telnet://{address}"]
    idle = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    assert get("/healthz")[0] == 200
    for one in idle:
        one.kill()
        one.wait()
