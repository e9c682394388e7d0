"""CBOR and SenML as docs/format.md has them: what a gateway writes, and nothing else."""

import base64
import json
import math
import re
import struct
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache

MAX_DEPTH = 8
U32, U64 = 2**32 - 1, 2**64 - 1
LOW64, HIGH64 = -(2**63), 2**63 - 1


class Malformed(Exception):
    """What is wrong with the bytes of a message."""


def fail(what):
    raise Malformed(what)


class Tagged:
    def __init__(self, tag, value):
        self.tag, self.value = tag, value


class Decoder:
    """Reads one item of deterministic CBOR after the other (RFC 8949, 4.2.1).

    Integers become int, floats float, maps dict: their labels are int or str.
    """

    def __init__(self, data, at=0):
        self.data, self.at = data, at
        self.cut = False  # an item was not wrong but longer than the data

    def need(self, n):
        start, end = self.at, self.at + n
        if end > len(self.data):
            self.cut = True
            fail("it ends too soon")
        self.at = end
        return self.data[start:end]

    def argument(self, info):
        if info < 24:
            return info
        if info > 27:
            fail("an indefinite or reserved length")
        size = 1 << (info - 24)
        n = int.from_bytes(self.need(size), "big")
        if n < (24, 0x100, 0x10000, 0x100000000)[info - 24]:
            fail("a number in more bytes than it needs")
        return n

    def item(self, depth=0):
        if depth > MAX_DEPTH:
            fail("nested too deeply")
        head = self.need(1)[0]
        major, info = head >> 5, head & 31
        if major == 7:
            return self.simple(info)
        n = self.argument(info)
        if major == 0:
            return n
        if major == 1:
            return -1 - n
        if major == 2:
            return self.need(n)
        if major == 3:
            return utf8(self.need(n))
        if major == 6:
            return Tagged(n, self.item(depth + 1))
        if n > len(self.data) - self.at:  # each element takes a byte at least
            self.cut = True
            fail("it ends too soon")
        if major == 4:
            return [self.item(depth + 1) for _ in range(n)]
        found, before = {}, None
        for _ in range(n):
            start = self.at
            label = self.item(depth + 1)
            raw = self.data[start : self.at]
            if type(label) not in (int, str) or (before is not None and before >= raw):
                fail("labels out of order, or of another kind")
            before = raw
            found[label] = self.item(depth + 1)
        return found

    def simple(self, info):
        if info in (20, 21):
            return info == 21
        if info == 26:  # section 4: binary32 where that is exact, NaN is binary64
            f = struct.unpack(">f", self.need(4))[0]
            if math.isnan(f):
                fail("a NaN of 32 bits")
            return f
        if info == 27:
            f = struct.unpack(">d", self.need(8))[0]
            try:
                if struct.unpack(">f", struct.pack(">f", f))[0] == f:
                    fail("a float in more bytes than it needs")
            except OverflowError:
                pass
            return f
        return fail("a simple value that the format does not use")


def decode(data):
    """The only item in these bytes."""
    d = Decoder(data)
    item = d.item()
    if d.at != len(data):
        fail("something follows the end")
    return item


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return fail("text that is not UTF-8")


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    size = 0 if n < 0x100 else 1 if n < 0x10000 else 2 if n < 0x100000000 else 3
    return bytes([major << 5 | 24 + size]) + n.to_bytes(1 << size, "big")


def encode(x):
    """Integers, bytes, text, lists of them, and dicts given in their order."""
    if type(x) is int:
        return head(0, x) if x >= 0 else head(1, -1 - x)
    if isinstance(x, bytes):
        return head(2, len(x)) + x
    if isinstance(x, str):
        return encode_text(x)
    if isinstance(x, list):
        return head(4, len(x)) + b"".join(map(encode, x))
    return head(5, len(x)) + b"".join(encode(k) + encode(v) for k, v in x.items())


def encode_text(x):
    b = x.encode()
    return head(3, len(b)) + b


# What an item has to be, each with its error.


MAX_NAME, MAX_VALUE = 256, 65536


def array(x, n, what):
    if type(x) is not list or (n >= 0 and len(x) != n):
        fail(f"{what}: no array of its size")
    return x


def mapping(x, labels, what, some=False):
    """A map of exactly these labels, or of those among them that are there."""
    if type(x) is not dict or any(k not in labels for k in x):
        fail(f"{what}: no map, or a label that it does not have")
    if not some and len(x) != len(labels):
        fail(f"{what}: a label is missing")
    return x


def binary(x, n, what):
    if type(x) is not bytes or (n >= 0 and len(x) != n):
        fail(f"{what}: no byte string of the right length")
    return x


def text(x, most, what):
    if type(x) is not str or len(x.encode()) > most:
        fail(f"{what}: no text, or too long")
    return x


def integer(x, low, high, what):
    if type(x) is not int or not low <= x <= high:
        fail(f"{what}: no integer, or out of range")
    return x


def time64(x, what):
    return integer(x, LOW64, HIGH64, what)


def seconds(x):
    if not isinstance(x, Tagged) or x.tag != 4 or array(x.value, 2, "time")[0] != -9:
        fail("a time that is no 4([-9, n])")
    return time64(x.value[1], "time")


# SenML in CBOR, section 4.


def plaintext(plain, base):
    """The pack or the catalogue in the plaintext of a data frame."""
    d = Decoder(plain)
    item = d.item()
    found = catalogue(item, base) if type(item) is dict else pack(item, base)
    if d.at != len(plain):
        if len(plain) != padme(d.at + 1) or plain[d.at :] != padding(len(plain) - d.at):
            fail("padding in another form, or of another length than Padmé gives")
    return found


def padme(length):
    e = length.bit_length() - 1
    step = 1 << (e - e.bit_length())
    return -(-length // step) * step


def padding(n):
    for size in (1, 2, 3, 5):
        if n >= size and len(head(2, n - size)) == size:
            return head(2, n - size) + bytes(n - size)
    return head(2, 0) + padding(n - 1)


RECORD = (0, 1, 2, 3, 4, 8, -2, -3, "q")


def pack(records, wanted):
    base, now, samples = "", 0, []
    for i, r in enumerate(array(records, -1, "pack")):
        mapping(r, RECORD, "record", some=True)
        if r.get(1) == "" or (i == 0) != (-2 in r) or (i == 0 and -3 not in r):
            fail("an empty unit; or a base name or time where none belongs, or none")
        if i == 0 and (base := r[-2]) != wanted:
            fail("the base name of another machine")
        if -3 in r:
            then, now = now, seconds(r[-3])
            if i > 0 and then == now:
                fail("a base time that does not change")
        values = [k for k in (2, 3, 4, 8) if k in r]
        if len(values) > 1:
            fail("two values")
        kind, v = value(values[0], r[values[0]]) if values else ("none", None)
        quality = integer(r["q"], 1, U32, "quality") if "q" in r else 0
        samples.append(sample(r.get(0), r.get(1, ""), now, quality, kind, v))
    return {"base": base, "samples": samples}


def sample(name, unit, time, quality, kind, v):
    text(name, MAX_NAME, "name"), text(unit, MAX_NAME, "unit")
    if quality >= 2**31 and kind != "none":
        fail("a bad sample with a value")
    if kind in ("text", "bytes") and len(v.encode() if kind == "text" else v) > MAX_VALUE:
        fail("a text or bytes that are too long")
    return {"name": name, "unit": unit, "time": time, "quality": quality, "kind": kind, "value": v}


def value(label, v):
    if label == 3:
        return "text", text(v, MAX_VALUE, "value")
    if label == 8:
        return "bytes", binary(v, -1, "value")
    if label == 4:
        return ("bool", v) if type(v) is bool else fail("no boolean")
    if type(v) is float:
        return "float", v
    if isinstance(v, Tagged):
        return "time", seconds(v)
    return number(v)


def number(v):
    return ("uint" if integer(v, LOW64, U64, "value") > HIGH64 else "int"), v


def catalogue(m, wanted):
    """A catalogue, sealed or clear."""
    mapping(m, (0, 1), "catalogue")
    if m[0] != wanted:
        fail("the base name of another machine")
    entries, before = [], b""
    for e in array(m[1], -1, "entries"):
        name, id_, unit, texts, tags = array(e, 5, "entry")
        raw = text(name, 256, "name").encode()
        if raw <= before:  # an empty name too
            fail("entries out of order")
        before = raw
        if id_ != "" and not (type(id_) is str and re.fullmatch("[0-9a-f]{32}", id_)):
            fail("an id that is none")
        if type(texts) is not dict or type(tags) is not dict:
            fail("texts or tags that are no map")
        for k, v in texts.items():
            time64(k, "number"), text(v, 256, "text")
        for k, v in tags.items():
            text(k, 256, "tag"), text(v, 256, "tag")
        entries.append({"name": name, "id": id_, "unit": text(unit, 256, "unit"), "texts": texts, "tags": tags})
    return {"base": wanted, "catalogue": entries}


# SenML in JSON, section 5. Reading is so narrow that no other form passes.

STRING = r'"((?:[^"\\\x00-\x1f]|\\["\\]|\\u00[01][0-9a-f])*)"'
CLEAR = re.compile(
    rf'\{{(?:"bn":{STRING},)?(?:"bt":(-?(?:0|[1-9][0-9]*)(?:\.[0-9]{{0,8}}[1-9])?),)?"n":{STRING}(?:,"u":{STRING})?'
    rf'(?:,"v":([-+.e0-9]+)|,"vs":{STRING}|,"vb":(true|false)|,"vd":"([-A-Za-z0-9_]*)")?'
    r'(?:,"q":([1-9][0-9]{0,9}))?(?:,"vk":"(time|float|text)")?\}'
)


def clear_pack(body, wanted):
    """The samples in a clear body."""
    s = utf8(body)
    if s == "[]":
        return {"base": "", "samples": []}
    if s[:1] != "[":
        fail("no array")
    at, base, now, samples = 1, "", 0, []
    while True:
        m = CLEAR.match(s, at)
        if not m:
            fail("a record in another form")
        bn, bt, n, u, v, vs, vb, vd, q, vk = m.groups()
        at, first = m.end(), not samples
        if first != (bn is not None) or (first and bt is None):
            fail("a base name or time where none belongs, or none")
        if first and (base := plain(bn)) != wanted:
            fail("the base name of another machine")
        if bt is not None:
            then, now = now, nanoseconds(bt)
            if not first and then == now:
                fail("a base time that does not change")
        quality = integer(int(q or 0), 0, U32, "quality")
        if u == "":
            fail("an empty unit")
        samples.append(sample(plain(n), plain(u or ""), now, quality, *clear_value(v, vs, vb, vd, vk)))
        if s[at:] == "]":
            return {"base": base, "samples": samples}
        if s[at : at + 1] != ",":
            fail("records in another form")
        at += 1


def plain(s):
    return json.loads(f'"{s}"', strict=False)  # the pattern leaves nothing that JSON would not read


def clear_value(v, vs, vb, vd, vk):
    if vk is None and vb is not None:
        return "bool", vb == "true"
    if vk is None and v is not None:
        if re.fullmatch("0|-?[1-9][0-9]*", v):
            return number(int(v) if len(v) < 21 else fail("an integer of more than 64 bits"))
        try:
            f = float(v)
        except ValueError:
            fail("no number")
        if not math.isfinite(f) or clear_float(f) != v:
            fail("a number in another form")
        return "float", f
    if vd is not None and vk in (None, "text"):
        try:
            b = base64.urlsafe_b64decode(vd + "=" * (-len(vd) % 4))
        except ValueError:
            fail("no base64url")
        if base64url(b) != vd:
            fail("base64url in another form")
        if vk is None:
            return "bytes", b
        if json_size(b) <= len(vd):
            fail("text as base64url that is shorter as it is")
        return "text", utf8(b)
    if vs is not None:
        t = plain(vs)
        if vk == "time":
            return "time", parse_time(t)
        if vk == "float":
            return "float", float(t) if t in ("NaN", "Infinity", "-Infinity") else fail("no float")
        if vk is None:
            if json_size(t.encode()) > len(base64url(t.encode())):
                fail("text that is shorter as base64url")
            return "text", t
    return ("none", None) if vk is None else fail("a kind without its value")


def base64url(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


def json_size(b):
    return sum(6 if x < 0x20 else 2 if x in b'"\\' else 1 for x in b)


def clear_float(f):
    """A float as the gateway writes it: all digits it needs, 5.0, 1e-07."""
    sign, digits, exponent = Decimal(repr(f)).normalize().as_tuple()
    minus = "-" if sign else ""
    if f == 0:
        return minus + "0.0"
    d = "".join(map(str, digits))
    if abs(f) < 1e-6 or abs(f) >= 1e21:
        e = exponent + len(d) - 1
        return f"{minus}{d[0]}{'.' + d[1:] if d[1:] else ''}e{'-' if e < 0 else '+'}{abs(e):02d}"
    s = format(Decimal((0, digits, exponent)), "f")
    return minus + (s if "." in s else s + ".0")


def nanoseconds(s):
    whole, _, part = s.lstrip("-").partition(".")
    n = int(whole + part.ljust(9, "0")) if len(whole) < 11 else fail("a time out of range")
    if s[0] == "-":
        n = -n if n else fail("minus zero")
    return time64(n, "time")


@lru_cache(64)  # many samples have one time
def rfc3339(ns):
    """Unix nanoseconds as RFC 3339, without needless zeros."""
    whole, part = divmod(ns, 10**9)
    s = datetime.fromtimestamp(whole, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return s + f".{part:09d}".rstrip("0").rstrip(".") + "Z"


def parse_time(t):
    m = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z", t)
    try:
        moment = datetime.fromisoformat(m[1] + "+00:00")
    except (TypeError, ValueError):
        fail("no time")
    delta = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    n = time64((delta.days * 86400 + delta.seconds) * 10**9 + int((m[2] or "").ljust(9, "0")), "time")
    return n if rfc3339(n) == t else fail("a time in another form")
