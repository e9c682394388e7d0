"""Where messages come from: segments of a files uplink (docs/format.md, 12), or a JetStream stream.

The NATS client here is as small as reading needs: TLS, one pull consumer that
the server forgets by itself, no reconnecting.
"""

import json
import re
import secrets
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

from codec import LOW64, U32, U64, Decoder, Malformed, fail, integer, text, time64
from frames import KINDS, Epoch, Message, from_array

MAX_ITEM = 128 << 10  # no message is larger
CHUNK = 1 << 20
BATCH = 256


def _crc_table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        yield n


CRC = tuple(_crc_table())


def crc32c(data):
    c = 0xFFFFFFFF
    for x in data:
        c = CRC[(c ^ x) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


def segments(paths):
    """The segments among files and folders, in order."""
    for p in paths:
        if p != "-" and Path(p).is_dir():
            yield from sorted(f for f in map(str, Path(p).iterdir()) if f.endswith((".fseal", ".fseal.part")))
        else:
            yield p


def from_files(paths, damaged):
    """All messages in files, folders or standard input (-). damaged(text) is told what could not be read."""
    for path in segments(paths):
        with sys.stdin.buffer if path == "-" else open(path, "rb") as f:
            yield from _read(f, lambda text, path=path: damaged(f"{path}: {text}"))


def _read(f, damaged):
    """Reads segments one after another, and steps over what is damaged."""
    data, at, end, lost = b"", 0, False, False
    while True:
        found = _whole(data, at) if at < len(data) else "more"
        if found == "more" and not end and len(data) - at <= MAX_ITEM:
            chunk = f.read(CHUNK)
            data, at, end = data[at:] + chunk, 0, not chunk
            continue
        if at >= len(data):
            return
        if found == "more" or not found:
            if not lost:
                damaged("a part of it is damaged")
            lost = True
            at += 1
            continue
        lost = False
        item, at = found
        if len(item) == 3:
            if item[0] == "fieldseal segment 1":
                continue
            damaged("no segment of this version")
            if str(item[0]).startswith("fieldseal segment "):
                return
            continue
        try:
            m = from_array(item)
        except Malformed as e:
            damaged(str(e))
            continue
        yield m


def _whole(data, at):
    """The item there, a header or a message, if its CRC is right, and where it ends; "more": the data may end in the middle of one."""
    if data[at] not in (0x83, 0x8D):
        return None
    d = Decoder(data, at)
    try:
        item, size = d.item(), d.at
        crc = d.item()
    except Malformed:
        return "more" if d.cut else None
    return (item, d.at) if crc == crc32c(data[at:size]).to_bytes(4, "big") else None


# NATS.

KIND_OF = {"_keys": 3, "_checkpoints": 4, "_losses": 5, "_statement": 6, "_events": 7}


def from_nats(prefix, subject, headers, body):
    """The message in a NATS message; headers is a list of pairs."""

    def one(name):
        found = [v for k, v in headers if k == name]
        return found[0] if len(found) == 1 else fail(f"{subject}: not one header {name}")

    def number(name, low, high):
        v = one(name)
        return integer(int(v), low, high, name) if re.fullmatch("0|-?[1-9][0-9]{0,19}", v) else fail(f"{subject}: {name}")

    if not subject.startswith(prefix + "."):
        fail(f"{subject}: another prefix")
    gateway, *parts = subject[len(prefix) + 1 :].split(".")
    kind = KIND_OF.get(parts[0] if parts else "", 2 if len(parts) == 3 else 1)
    names = parts if kind < 3 else parts[1:]
    if len(names) != (3 if kind == 2 else 2 if kind < 6 else 0):
        fail(f"{subject}: a subject of another length")
    machine, level, point = (names + ["", "", ""])[:3]
    if one("Fieldseal-Kind") != KINDS[kind]:
        fail(f"{subject}: the kind is another one")
    if kind < 6 and (one("Fieldseal-Machine"), one("Fieldseal-Level")) != (machine, level):
        fail(f"{subject}: machine or level are other ones")
    if kind > 5:
        machine, level = (one(k) if k in dict(headers) else "" for k in ("Fieldseal-Machine", "Fieldseal-Level"))
    e = re.fullmatch("(0|[1-9][0-9]{0,19})-([0-9a-f]{16})-(0|[1-9][0-9]{0,9})", one("Fieldseal-Epoch")) or fail(f"{subject}: epoch")
    epoch = Epoch(integer(int(e[1]), 0, U64, "start"), bytes.fromhex(e[2]), integer(int(e[3]), 0, U32, "number"))
    sequence, time = number("Fieldseal-Sequence", 0, U64), time64(number("Fieldseal-Time", LOW64, U64), "time")
    of_gateway = (machine, level) == ("_gateway", "_events")  # the only names with an underscore in front
    for name in (gateway,) + (() if of_gateway else (machine, level)) + ((point,) if kind == 2 else ()):
        if not re.fullmatch("[0-9A-Za-z-][0-9A-Za-z_-]{0,255}", name) and (name or kind < 6):
            fail(f"{subject}: a name")
    if not gateway or not re.fullmatch("[!-~]([ -~]{0,254}[!-~])?", one("Content-Type")):
        fail(f"{subject}: no gateway, or Content-Type")
    if not re.fullmatch(re.escape(gateway) + "/[0-9a-f]{32}", one("Nats-Msg-Id")):
        fail(f"{subject}: Nats-Msg-Id")
    return Message(text(gateway, 256, "gateway"), machine, level, kind, point, epoch, sequence, one("Content-Type"), time, body)


class Connection:
    """Just enough of the NATS protocol."""

    def __init__(self, url, ca, cert, key):
        to = urlsplit(url)
        plain = socket.create_connection((to.hostname, to.port or 4222), timeout=10)
        self.stream = plain.makefile("rb", buffering=0)
        self.line()  # INFO; the rest of the conversation is inside TLS
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
        self.socket = context.wrap_socket(plain, server_hostname=to.hostname)
        self.stream = self.socket.makefile("rb")
        self.inbox = f"_INBOX.{secrets.token_hex(11)}"
        self.send('CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"python","version":"1","protocol":1}')
        self.send(f"SUB {self.inbox}.* 1")

    def send(self, line, payload=None):
        end = b"" if payload is None else payload + b"\r\n"
        self.socket.sendall(line.encode() + b"\r\n" + end)

    def publish(self, subject, payload):
        self.send(f"PUB {subject} {self.inbox}.1 {len(payload)}", payload)

    def line(self):
        line = self.stream.readline(1 << 16)
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2].decode()

    def next(self):
        """The next message: subject, reply subject, status, headers, body."""
        while True:
            line = self.line()
            op, *words = line.split(" ")
            if op == "PING":
                self.send("PONG")
            elif op == "-ERR":
                raise ConnectionError(line)
            elif op in ("MSG", "HMSG"):
                sizes = [int(w) for w in words[-2 if op == "HMSG" else -1 :]]
                data = self.stream.read(sizes[-1] + 2)[:-2]
                head = data[: sizes[0]].decode() if op == "HMSG" else "NATS/1.0"
                first, *lines = head.split("\r\n")
                headers = [(k, v.strip()) for k, _, v in (x.partition(":") for x in lines) if k]
                reply = words[2] if len(words) == len(sizes) + 3 else ""
                return words[0], reply, first[8:].strip(), headers, data[sizes[0] if op == "HMSG" else 0 :]


def from_stream(o, foreign):
    """All messages of a JetStream stream under a prefix, from its start; up to its present end, or on and on."""
    c = Connection(o.nats, o.ca, o.cert, o.key)
    config = {
        "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant", "filter_subject": o.prefix + ".>",
        "inactive_threshold": 60 * 10**9,
    }  # fmt: skip
    c.publish(f"$JS.API.CONSUMER.CREATE.{o.stream}", json.dumps({"stream_name": o.stream, "config": config}).encode())
    _, _, status, _, body = c.next()
    answer = json.loads(body or "{}")
    if "error" in answer or "name" not in answer:
        raise ConnectionError(f"no consumer of {o.stream}: {answer.get('error', {}).get('description', status)}")
    left, wanted = answer["num_pending"], 0
    request = json.dumps({"batch": BATCH, "expires": 10 * 10**9}).encode()
    c.socket.settimeout(30)
    while left or not o.end:
        if not wanted:
            c.publish(f"$JS.API.CONSUMER.MSG.NEXT.{o.stream}.{answer['name']}", request)
            wanted = BATCH
        subject, reply, status, headers, body = c.next()
        if status and not reply:
            if status[:3] not in ("404", "408", "409"):
                raise ConnectionError(status)
            wanted = 0  # this request is over
            continue
        wanted -= 1
        left = int(reply.split(".")[-1])  # $JS.ACK.….pending
        try:
            m = from_nats(o.prefix, subject, headers, body)
        except Malformed as e:
            foreign(f"no message of fieldseal: {e}")
            continue
        yield m
