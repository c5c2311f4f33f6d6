#!/usr/bin/python3
"""The block layer of QEMU without a guest, qemu-storage-daemon, spoken to as a guest's is."""

import json
import subprocess
import time


class Qemu:
    """Leaving the block ends it, and demands that it ends in good order."""

    def __init__(self):
        command = ["qemu-storage-daemon", "--chardev", "stdio,id=c", "--monitor", "chardev=c"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.process.stdout.readline()
        self.do("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is not None:
            self.process.kill()
        else:
            self.do("quit")
        assert self.process.wait(30) == 0 or kind is not None

    def ask(self, command, **arguments):
        """What it answers: a value, or the text of an error."""
        line = json.dumps({"execute": command, "arguments": arguments})
        print(line, file=self.process.stdin, flush=True)
        while True:
            answer = json.loads(self.process.stdout.readline())
            if "error" in answer:
                return answer["error"]["desc"]
            if "return" in answer:
                return answer["return"]

    def do(self, command, **arguments):
        """The same for what must be done, and has nothing to tell."""
        answer = self.ask(command, **arguments)
        assert answer == {}, f"{command}: {answer}"

    def size(self, node):
        nodes = self.ask("query-named-block-nodes")
        return next(n["image"]["virtual-size"] for n in nodes if n["node-name"] == node)

    def await_job(self, name, status, seconds=60):
        """Waits until the job is in this state; a job that has failed never is."""
        end = time.monotonic() + seconds
        while True:
            job = next(job for job in self.ask("query-jobs") if job["id"] == name)
            assert "error" not in job, job
            if job["status"] == status:
                return
            assert time.monotonic() < end, f"not {status} after {seconds} s: {job}"
            time.sleep(0.02)


def nbd_node(name, socket, export, **options):
    """What blockdev-add wants for an export of a server on a unix socket."""
    address = {"type": "unix", "path": socket}
    return {"driver": "nbd", "node-name": name, "server": address, "export": export, **options}
