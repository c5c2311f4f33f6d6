#!/usr/bin/python3
"""What the Python tests share: a server in the folder where the test runs, a connection through
libnbd, and a client of our own that can say what no decent client would."""

import os
import re
import signal
import socket
import struct
import subprocess
import time

import nbd

# Servers listen there for control calls, and commands call there, if nothing else is said.
os.environ["BEDPLATE_CONTROL"] = os.path.abspath("control.sock")

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def bedplate(*words):
    """What a command prints that must succeed."""
    command = [os.environ["BEDPLATE"], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def refused(*words):
    """What a command says, in one line, that must fail."""
    command = [os.environ["BEDPLATE"], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class Server:
    """`bedplate serve ARGUMENT...` on a unix socket. Leaving the block stops it, and demands that
    it ends in good order."""

    def __init__(self, *arguments):
        self.socket = os.path.abspath("nbd.sock")
        command = [os.environ["BEDPLATE"], "serve", "--nbd", f"unix:{self.socket}", *arguments]
        self.out, self.err = open("server.out", "w+"), open("server.err", "w+")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=self.err)
        self.pid = self.process.pid
        try:
            eventually(self.is_ready, "the server is ready")
        except AssertionError:
            self.process.kill()
            raise

    def is_ready(self):
        assert self.process.poll() is None, f"the server ended: {open('server.err').read()}"
        return open("server.out").read().startswith("ready: ")

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        errors = open("server.err").read()
        if kind is None:
            assert status == 0, f"the server ended with status {status}: {errors}"
            assert "panic" not in errors, errors

    def uri(self, name="disk"):
        return f"nbd+unix:///{name}?socket={self.socket}"

    def connect(self, name="disk", structured=True, contexts=(), strict=True):
        """A connection through libnbd."""
        handle = nbd.NBD()
        handle.set_request_structured_replies(structured)
        for context in contexts:
            handle.add_meta_context(context)
        if not strict:
            handle.set_strict_mode(0)
        handle.set_export_name(name)
        handle.connect_unix(self.socket)
        return handle

    def rss_bytes(self):
        status = open(f"/proc/{self.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * KIB

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        fields = open(f"/proc/{self.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually(condition, what, seconds=10):
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not after {seconds} s: {what}"
        time.sleep(0.01)


def expect_error(errno, call, *arguments):
    """The call must fail with one of these libnbd error numbers, given by name."""
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errno in errno.split("|"), f"wanted {errno}, got {error.errno}: {error.string}"
        return
    raise AssertionError(f"{call.__name__}{arguments} should have failed with {errno}")


def sparse_file(path, size, *pieces):
    """A file of `size` bytes that holds only these pieces, each an offset and its bytes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)


def pattern(length, seed=0):
    """Bytes that differ from block to block, so that a misplaced block shows."""
    words = b"".join(struct.pack(">II", seed, index) for index in range((length + 7) // 8))
    return words[:length]


# The protocol's numbers, by the names in its specification.
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
EXTENDED_REQUEST_MAGIC, EXTENDED_REPLY_MAGIC = 0x21E41C71, 0x6E8A278C
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO = 1, 2, 3, 6, 7
OPT_STRUCTURED_REPLY, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED_HEADERS = 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN, ERR_TOO_BIG = (
    0x80000000 + number for number in (1, 2, 3, 5, 6, 7, 9)
)
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_STATUS_EXT = 0, 1, 2, 5, 6
CHUNK_ERROR, CHUNK_ERROR_OFFSET, DONE = 0x8001, 0x8002, 1
EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 5, 22, 28, 75, 95


class Closed(Exception):
    """The server closed the connection."""


class Raw:
    """A client that speaks the protocol byte by byte, so that it can also speak it wrongly."""

    def __init__(self, server, flags=3, address=None):
        if address:
            self.sock = socket.create_connection(address)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(server.socket)
        self.sock.settimeout(20)
        self.extended = False
        if flags is not None:
            assert self.receive(16) == b"NBDMAGICIHAVEOPT"
            assert self.receive(2) == b"\0\3", "fixed newstyle, no zeroes"
            self.send(struct.pack(">I", flags))

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self, length):
        data = b""
        while len(data) < length:
            try:
                piece = self.sock.recv(length - len(data))
            except ConnectionResetError as error:
                raise Closed from error
            if not piece:
                raise Closed
            data += piece
        return data

    def is_closed(self):
        """Reads what is left; whether the server then hangs up."""
        try:
            while True:
                self.receive(1)
        except Closed:
            return True
        except TimeoutError:
            return False

    def option(self, option, data=b"", length=None):
        """Sends an option and collects its replies up to the last one: (type, data) each."""
        length = len(data) if length is None else length
        self.send(b"IHAVEOPT" + struct.pack(">II", option, length) + data)
        replies = []
        while not replies or replies[-1][0] in (REP_SERVER, REP_INFO, REP_META):
            magic, about, kind, length = struct.unpack(">QIII", self.receive(20))
            assert (magic, about) == (0x3E889045565A9, option), (hex(magic), about)
            replies.append((kind, self.receive(length)))
        return replies

    def set_contexts(self, name, *contexts):
        """Chooses metadata contexts; their numbers by name."""
        data = struct.pack(">I", len(name)) + name + struct.pack(">I", len(contexts))
        data += b"".join(struct.pack(">I", len(context)) + context for context in contexts)
        replies = self.option(OPT_SET_META, data)
        assert replies[-1][0] == REP_ACK, replies
        return {data[4:]: struct.unpack(">I", data[:4])[0] for _, data in replies[:-1]}

    def go(self, name=b"disk", structured=False, extended=False):
        """Ends the handshake. Returns the size and the flags of the export."""
        if extended:
            assert self.option(OPT_EXTENDED_HEADERS) == [(REP_ACK, b"")]
            self.extended = True
        elif structured:
            assert self.option(OPT_STRUCTURED_REPLY) == [(REP_ACK, b"")]
        replies = self.option(OPT_GO, struct.pack(">I", len(name)) + name + b"\0\0")
        assert replies[-1][0] == REP_ACK, replies
        infos = [data for kind, data in replies if kind == REP_INFO and data[:2] == b"\0\0"]
        return struct.unpack(">QH", infos[0][2:])

    def request(self, command, offset, length, flags=0, data=b"", cookie=7):
        if self.extended:
            magic, header = EXTENDED_REQUEST_MAGIC, ">IHHQQQ"
        else:
            magic, header = REQUEST_MAGIC, ">IHHQQI"
        self.send(struct.pack(header, magic, flags, command, cookie, offset, length) + data)

    def simple_reply(self, length=0):
        """The error and the data of a simple reply; `length` is what a read asked for."""
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return error, cookie, self.receive(0 if error else length)

    def chunks(self):
        """The chunks of one structured or extended reply: (type, payload) each. A simple reply,
        which a server may give where no data is asked for, counts as one chunk."""
        found, flags = [], 0
        while not flags & DONE:
            (magic,) = struct.unpack(">I", self.receive(4))
            if magic == SIMPLE_MAGIC and not self.extended:
                error, _cookie = struct.unpack(">IQ", self.receive(12))
                return [(CHUNK_ERROR, struct.pack(">IH", error, 0)) if error else (CHUNK_NONE, b"")]
            if self.extended:
                assert magic == EXTENDED_REPLY_MAGIC, hex(magic)
                flags, kind, _cookie, _at, length = struct.unpack(">HHQQQ", self.receive(28))
            else:
                assert magic == STRUCTURED_MAGIC, hex(magic)
                flags, kind, _cookie, length = struct.unpack(">HHQI", self.receive(16))
            found.append((kind, self.receive(length)))
        return found

    def error(self):
        """The error number of the next reply, which carries no data; 0 for success."""
        kind, payload = self.chunks()[-1]
        return struct.unpack(">I", payload[:4])[0] if kind & 0x8000 else 0

    def close(self):
        self.sock.close()


def still_serves(server, name="disk"):
    """Somebody else's client still gets what it asks for."""
    handle = server.connect(name)
    assert len(handle.pread(4 * KIB, 0)) == 4 * KIB
    handle.shutdown()
