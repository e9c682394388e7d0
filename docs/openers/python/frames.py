"""What each kind of message holds, and whose word it is: docs/format.md, 1 to 4 and 6 to 8.

These functions read and verify; the account is in fieldseal.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codec import U32, U64, Tagged, array, binary, catalogue, clear_pack, decode, encode, fail, integer, mapping, plaintext, text, time64
from keys import SUPPORTED, open_hpke, sha256, signed_by, thumbprint

KINDS = ("", "data", "passthrough", "key-frame", "checkpoint", "loss-record", "statement", "event")

MAX_BODY = 122880
SEALED = 'application/cose; cose-type="cose-encrypt0"'
SIGNED = 'application/cose; cose-type="cose-sign1"'
CLEAR = "application/senml+json"
CATALOGUE = "application/vnd.fieldseal.catalogue.v1+cbor"
ANY = float("inf")


class Refusal(Exception):
    """Why one message was not taken."""

    def __init__(self, cls, reason):
        super().__init__(f"{cls}: {reason}")
        self.cls = cls


def refuse(cls, reason):
    raise Refusal(cls, reason)


class Epoch(NamedTuple):
    start: int
    instance: bytes
    number: int

    def before(self, other):
        return (self.start, self.number) < (other.start, other.number)


@dataclass
class Message:
    gateway: str
    machine: str
    level: str
    kind: int  # a place in KINDS
    point: str
    epoch: Epoch
    sequence: int
    content_type: str
    time: int  # Unix nanoseconds
    body: bytes


# Messages, section 1.


def check(m):
    """What every message has to be."""
    if len(m.body) > MAX_BODY:
        refuse("oversize", "the body is too large")
    for name in (m.gateway, m.machine, m.level, m.point, m.content_type):
        text(name, 256, "name")
    if not 0 < m.kind < len(KINDS):
        refuse("unsupported", "a kind that this version does not know")
    kind = KINDS[m.kind]
    if not m.gateway or (m.machine or m.level or m.epoch.number if kind == "statement" else not m.machine or not m.level):
        fail("a name that is missing, or too much")
    if m.point and kind not in ("passthrough", "event"):
        fail("a point where none belongs")
    integer(m.sequence, 1, U64, "sequence")


def digest(m):
    fields = ["fieldseal digest 1", m.gateway, m.machine, m.level, m.kind, m.point, *m.epoch, m.sequence, m.content_type, m.time, sha256(m.body)]
    return sha256(encode(fields))[:16]


def from_array(x):
    """A message in the array form, as it stands in segments."""
    f = array(x, 13, "message")
    gateway, machine, level, point, content_type = (text(f[i], ANY, "name") for i in (0, 1, 2, 4, 9))
    binary(f[11], 16, "id")
    return Message(
        gateway, machine, level, integer(f[3], 0, 255, "kind"), point, epoch_of(f[5:8]),
        integer(f[8], 0, U64, "sequence"), content_type, time64(f[10], "time"), binary(f[12], -1, "body"),
    )  # fmt: skip


def epoch_of(f):
    return Epoch(integer(f[0], 0, U64, "start"), binary(f[1], 8, "instance"), integer(f[2], 0, U32, "number"))


def same_stream(f, m):
    return [text(x, 256, "name") for x in f[:3]] == [m.gateway, m.machine, m.level]


def same_address(f, m):
    return (same_stream(f, m), epoch_of(f[3:6])) == (True, m.epoch)


def tagged(body, tag, n):
    item = decode(body)
    if not isinstance(item, Tagged) or item.tag != tag:
        fail("another tag")
    return array(item.value, n, "body")


def header(b, labels):
    return mapping(decode(binary(b, -1, "header")), labels, "header")


# Signatures, section 2.


def signed(m, what, trust):
    """The payload of a COSE_Sign1, and verify(time, ours).

    That refuses what no trusted key signed, or not before that key's end, and
    what the message is not. trust is None where nothing is verified.
    """
    protected, unprotected, payload, signature = tagged(m.body, 18, 4)
    p = header(protected, (1, 4, 16))
    if p[1] not in (-8, -19) or p[16] != f"application/vnd.fieldseal.{what}.v1":
        fail("an algorithm that no gateway signs with, or another typ")
    mapping(unprotected, (), "unprotected header")
    binary(payload, -1, "payload")
    binary(signature, 64, "signature")
    kid = binary(p[4], 8, "key id")

    def verify(time, ours):
        if trust is not None:
            key = signed_by(trust[m.gateway], kid, protected, payload, signature)
            if not key or (key.until is not None and time > key.until):
                refuse("bad-signature", "it was signed after the end of its key" if key else "no trusted key signed it")
        if not ours or m.content_type != SIGNED:
            refuse("tampered", f"the {what} inside is not of this message")

    return payload, verify


# Key frames, section 3.


@dataclass
class KeyFrame:
    header: bytes
    hash: bytes
    thumbprint: bytes
    iv: bytes
    ciphertext: bytes
    recipients: list  # (alg, kid, header, encapsulated key, ciphertext)


@dataclass
class EpochKey:
    key: bytes
    kid: bytes
    iv: bytes
    hash: bytes


def parse_key_frame(m, trust):
    payload, verify = signed(m, "key-frame", trust)
    protected, unprotected, ciphertext, recipients = tagged(payload, 96, 4)
    p = header(protected, (1, 3, 16, -65537))
    if p[1] != 3 or p[3] != 101 or p[16] != "application/vnd.fieldseal.key-frame.v1":
        fail("header of the encryption")
    f = array(p[-65537], 9, "what it is the key of")
    time = time64(f[7], "time")
    # Its message may have another time.
    ours = same_address(f, m) and integer(f[6], 0, U64, "sequence") == m.sequence
    iv = binary(mapping(unprotected, (5,), "unprotected header")[5], 12, "IV")
    frame = KeyFrame(protected, sha256(payload), binary(f[8], 32, "thumbprint"), iv, binary(ciphertext, -1, "ciphertext"), [])
    if len(ciphertext) < 17 or not 1 <= len(array(recipients, -1, "recipients")) <= 64:
        fail("no plaintext, no recipients, or too many")
    for r in recipients:
        h, u, content_key = array(r, 3, "recipient")
        about = header(h, (1, 4))
        alg = time64(about[1], "algorithm")  # one that is not known is passed over
        ek = binary(mapping(u, (-4,), "unprotected header")[-4], -1, "encapsulated key")
        frame.recipients.append((alg, binary(about[4], 8, "key id"), h, ek, binary(content_key, -1, "content key")))
    verify(time, ours)
    return frame


def unseal(frame, identities):
    """The epoch's key, for one of these identities."""
    mine = unsupported = False
    for alg, kid, h, ek, ciphertext in frame.recipients:
        for i in identities:
            if (i.alg, i.kid) != (alg, kid):
                continue
            if alg not in SUPPORTED:
                unsupported = True
                continue
            mine = True
            try:
                content_key = open_hpke(i, ek, ciphertext, encode(["HPKE Recipient", 3, h, b""]))
                return epoch_key(AESGCM(content_key).decrypt(frame.iv, frame.ciphertext, encode(["Encrypt", frame.header, b""])), frame)
            except Exception:  # a key id proves nothing: another recipient may be the one
                pass
    if mine:
        refuse("tampered", "the key in it cannot be opened")
    if unsupported:
        refuse("unsupported", "this cryptography library has no ML-KEM: it cannot open a hybrid recipient")
    return refuse("wrong-recipient", "its epoch is for others")


def epoch_key(plain, frame):
    k = mapping(decode(plain), (1, 2, 3, 4, 5, -1), "key")
    key = binary(k[-1], 32, "k")
    own = thumbprint({1: 4, -1: key})
    if (k[1], k[3], k[4]) != (4, 3, [4]) or own != frame.thumbprint or own[:8] != k[2]:
        fail("another key")
    return EpochKey(key, own[:8], binary(k[5], 12, "Base IV"), frame.hash)


# Data, sections 4 and 5.


class Frame(NamedTuple):
    header: bytes
    kid: bytes
    iv: bytes
    ciphertext: bytes


def parse_data(m):
    """Clear samples or a catalogue, or the Frame that is sealed."""
    base = m.machine + "/"
    if m.content_type == CLEAR:
        return clear_pack(m.body, base)
    if m.content_type == CATALOGUE:
        return catalogue(decode(m.body), base)
    if m.content_type != SEALED:
        refuse("unsupported", "samples of a content type that this version does not know")
    protected, unprotected, ciphertext = tagged(m.body, 16, 3)
    p = header(protected, (1, 4, 6))
    iv = binary(p[6], -1, "Partial IV")
    mapping(unprotected, (), "unprotected header")
    if p[1] != 3 or not 1 <= len(iv) <= 8 or iv[0] == 0 or len(binary(ciphertext, -1, "ciphertext")) < 17:
        fail("algorithm, Partial IV or ciphertext")
    frame = Frame(protected, binary(p[4], 8, "key id"), iv, ciphertext)
    if int.from_bytes(iv, "big") != m.sequence:
        refuse("tampered", "the frame inside has another number")
    return frame


def open_data(m, frame, key):
    if frame.kid != key.kid:
        refuse("tampered", "the frame is of another key")
    nonce = int.from_bytes(key.iv, "big") ^ int.from_bytes(frame.iv, "big")
    try:
        plain = AESGCM(key.key).decrypt(nonce.to_bytes(12, "big"), frame.ciphertext, encode(["Encrypt0", frame.header, key.hash]))
        return plaintext(plain, m.machine + "/")
    except Exception as e:
        return refuse("tampered", str(e) or "the frame does not open")


# Checkpoints, loss records and statements, sections 6 to 8.


class Checkpoint(NamedTuple):
    first: int
    sequence: int
    previous: bytes
    closing: bool
    digests: bytes
    own: bytes  # its digest
    hash: bytes


def parse_checkpoint(m, trust):
    payload, verify = signed(m, "checkpoint", trust)
    f = array(decode(payload), 12, "checkpoint")
    sequence = integer(f[6], 1, U64, "sequence")
    first = integer(f[7], 1, sequence, "first")
    time = time64(f[10], "time")
    if sequence - first > 4096 or type(f[9]) is not bool:
        fail("it covers too much, or closing is no boolean")
    ours = same_address(f, m) and sequence == m.sequence and time == m.time
    digests = binary(f[11], 16 * (sequence - first), "digests")
    c = Checkpoint(first, sequence, binary(f[8], 32, "previous"), f[9], digests, digest(m), sha256(m.body))
    verify(time, ours)
    return c


@dataclass
class Loss:
    epoch: Epoch
    first: int
    last: int
    reason: str
    time: int


def parse_loss(m, trust):
    payload, verify = signed(m, "loss", trust)
    f = array(decode(payload), 10, "loss record")
    loss = Loss(
        epoch_of(f[3:6]), integer(f[6], 1, U64, "first"), integer(f[7], 1, U64, "last"), text(f[8], 256, "reason"), time64(f[9], "time")
    )
    ours = same_stream(f, m)
    if loss.last < loss.first:
        fail("a loss of nothing")
    verify(loss.time, ours)
    return loss


class Head(NamedTuple):
    machine: str
    level: str
    epoch: Epoch
    sequence: int
    order: tuple  # of its statement


@dataclass
class Statement:
    start: int
    instance: bytes
    sequence: int
    time: int
    clock: int
    interval: int
    policy: bytes
    audit_size: int
    audit_head: bytes
    heads: list
    content: bytes  # its message's digest
    came: int = 0

    @property
    def order(self):
        return self.start, self.sequence


def parse_statement(m, trust):
    payload, verify = signed(m, "statement", trust)
    f = array(decode(payload), 11, "statement")
    st = Statement(
        integer(f[1], 0, U64, "start"), binary(f[2], 8, "instance"), integer(f[3], 1, U64, "sequence"), time64(f[4], "time"),
        integer(f[5], 0, 2, "clock"), integer(f[6], 1, 86400000, "interval"), binary(f[7], 32, "policy"),
        integer(f[8], 0, U64, "audit size"), binary(f[9], 32, "audit head"), [], digest(m),
    )  # fmt: skip
    if not st.audit_size and any(st.audit_head):
        fail("the head of an empty audit log")
    before = None
    for h in array(f[10], -1, "heads"):
        machine, level, *epoch, sequence = array(h, 6, "head")
        name = text(machine, 256, "machine").encode(), text(level, 256, "level").encode()
        if not all(name) or (before and before >= name):
            fail("a head without a name, or heads out of order")
        before = name
        st.heads.append(Head(machine, level, epoch_of(epoch), integer(sequence, 1, U64, "sequence"), st.order))
    if len(st.heads) > 200:
        fail("too many heads")
    own = text(f[0], 256, "gateway"), Epoch(st.start, st.instance, 0), st.sequence, st.time
    verify(st.time, own == (m.gateway, m.epoch, m.sequence, m.time))
    return st
