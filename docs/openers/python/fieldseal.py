"""A reader of Fieldseal's wire format, written from docs/format.md (section 9).

It takes messages in any order and gives samples, with what vouches for them.
"""

import time
from bisect import bisect_left
from dataclasses import dataclass, field

from codec import Malformed
from frames import (
    KINDS, Epoch, Frame, Message, Refusal, check, digest, open_data, parse_checkpoint, parse_data, parse_key_frame, parse_loss,
    parse_statement, refuse, unseal,
)  # fmt: skip
from ranges import Ranges

# What a reader keeps at most. What comes beyond is refused as given-up.
MAX_WAITING, MAX_WAITING_BYTES = 50_000, 64 << 20  # messages without a signature or a key
MAX_CLAIMS = 64  # different messages under one number
MAX_DIGESTS = 1 << 20  # signed ones, to tell repeats from forgeries
MAX_STREAMS, MAX_EPOCHS, MAX_FORGERIES = 10_000, 100_000, 1000


@dataclass(eq=False)
class EpochState:
    id: Epoch
    refused: str = None
    low: int = None  # the numbers that signatures prove
    high: int = None
    closed: int = None
    key_frame: bytes = None  # the body
    key: object = None
    locked: list = field(default_factory=list)  # (number, claim, proof) without a key
    digests: set = field(default_factory=set)  # of these
    came: Ranges = field(default_factory=Ranges)

    def unkey(self):
        """A key frame that was refused leaves no key: the right one may come still, or again."""
        self.key_frame = self.key = None


@dataclass(eq=False)
class Claim:
    """A message that says to be number n of its stream."""

    n: int
    m: Message
    epoch: EpochState
    digest: bytes
    content: dict = None
    frame: Frame = None
    unopened: bool = False  # and never will be
    key: bool = False  # a key frame
    shown: bool = False
    held: bool = False

    @property
    def payload(self):  # or it speaks of the stream only
        return self.content is not None or self.frame is not None

    @property
    def sealed(self):
        return self.frame is not None and self.content is None and not self.unopened

    @property
    def waits_for_key(self):  # a message with this digest
        return self.digest in self.epoch.digests

    @property
    def locked(self):  # nobody could try to open it yet
        return self.sealed and self.epoch.key_frame is None


class Stream:
    def __init__(self, key):
        self.key = key
        self.epochs, self.came, self.lost, self.losses = {}, Ranges(), Ranges(), []
        self.checkpoints = []  # in order
        self.forgotten = 0  # digests up to this number are gone
        self.waiting = {}  # number → claims without a signature
        self.seen = {}  # number → digest, where nothing is verified
        self.first, self.forgeries, self.duplicates, self.unopened = None, [], 0, 0

    def epoch(self, id_):
        if id_ not in self.epochs and len(self.epochs) >= MAX_EPOCHS:
            refuse("given-up", "too many epochs")
        return self.epochs.get(id_) or EpochState(id_)

    def all(self, epoch=None):
        """The messages that wait for a signature, of one epoch or all, by number."""
        found = [c for claims in self.waiting.values() for c in claims if epoch is None or c.epoch is epoch]
        return sorted(found, key=lambda c: c.n)

    def place(self, n):
        return bisect_left(self.checkpoints, n, key=lambda p: p.sequence)

    def signed_digest(self, n):
        """The digest that a checkpoint lists for this number, or None."""
        i = self.place(n)
        if i == len(self.checkpoints) or self.checkpoints[i].first > n:
            return None
        p = self.checkpoints[i]
        at = 16 * (n - p.first)
        return p.own if p.sequence == n else p.digests[at : at + 16]

    def forgery(self, n, cls):
        if len(self.forgeries) < MAX_FORGERIES:
            self.forgeries.append({"sequence": n, "class": cls})

    def forged(self, n, reason):
        self.forgery(n, "forged")
        refuse("forged", reason)

    def lose(self, loss):
        """Records that continue each other are one loss."""
        self.lost.add(loss.first, loss.last)
        rest = []
        for x in self.losses:
            if (x.epoch, x.reason) == (loss.epoch, loss.reason) and loss.first <= x.last + 1 and x.first <= loss.last + 1:
                loss.first, loss.last, loss.time = min(x.first, loss.first), max(x.last, loss.last), max(x.time, loss.time)
            else:
                rest.append(x)
        self.losses = sorted([*rest, loss], key=lambda x: (x.first, x.epoch.start, x.epoch.number, x.reason.encode()))

    def see(self, c):
        """Where nothing is verified, the first message under a number of an epoch is the one."""
        self.seen[c.epoch.id, c.n] = c.digest
        if len(self.seen) > MAX_DIGESTS:
            del self.seen[next(iter(self.seen))]

    def begin(self, c):
        """A number is settled; the first of them with samples or a payload is kept apart."""
        self.came.add(c.n)
        c.epoch.came.add(c.n)
        if c.payload and (self.first is None or c.n < self.first):
            self.first = c.n


class Gateway:
    def __init__(self):
        self.starts, self.newest, self.heads = {}, None, {}


class Reader:
    """trust: gateway → keys (keys.py), or None: nothing is verified.

    identities: what parse_identity gave. now: deliver before the signature is
    there. trimmed: the source keeps the newest messages only. clock: gives Unix
    nanoseconds.
    """

    def __init__(self, trust=None, identities=(), now=False, trimmed=False, clock=time.time_ns):
        self.trust, self.identities, self.now, self.trimmed, self.clock = trust, list(identities), now, trimmed, clock
        self.streams, self.gateways = {}, {}
        self.classes = set()  # of all refusals
        self.waiting = self.waiting_bytes = self.digests = 0
        self.out = []

    def read(self, m):
        """Takes a message: the Refusal, or None, and the deliveries."""
        self.out, refusal = [], None
        try:
            self.take(m)
        except Malformed as e:
            refusal = Refusal("malformed", str(e))
        except Refusal as e:
            refusal = e
        if refusal:
            self.classes.add(refusal.cls)
        return refusal, self.out

    def take(self, m):
        check(m)
        if self.trust is not None and m.gateway not in self.trust:
            refuse("unknown-gateway", "no key is trusted for it")
        kind = KINDS[m.kind]
        if kind == "statement":
            return self.statement(m, parse_statement(m, self.trust))
        content = frame = checkpoint = loss = key_frame = None
        if kind == "data":
            found = parse_data(m)
            content, frame = (None, found) if isinstance(found, Frame) else (found, None)
        elif kind == "key-frame":
            key_frame = parse_key_frame(m, self.trust)
        elif kind == "checkpoint":
            checkpoint = parse_checkpoint(m, self.trust)
        elif kind == "loss-record":
            loss = parse_loss(m, self.trust)
        else:
            content = {"payload": m.body}
        s = self.stream((m.gateway, m.machine, m.level))
        e = s.epoch(m.epoch)
        c = Claim(m.sequence, m, e, digest(m), content, frame)
        if e.refused:
            refuse(e.refused, "its epoch was refused")
        if self.repeated(s, c):
            s.duplicates += 1
            return None
        prove = None
        if self.trust is not None:
            if checkpoint:
                return self.checkpoint(s, e, checkpoint, self.admit(s, e, c.n, checkpoint.first, c.n))
            if key_frame:
                prove = self.admit(s, e, c.n, c.n, c.n)
            else:
                self.claim(s, c)
        if key_frame and e.key_frame not in (None, m.body):
            cls = "clone" if self.trust is not None else "forged"
            s.forgery(c.n, cls)
            refuse(cls, "its epoch has another key frame")
        if key_frame and self.trust is not None:
            self.claim(s, c)
        c.key = key_frame is not None
        if frame and e.key:
            c.content = open_data(m, frame, e.key)
        c.unopened = frame is not None and c.content is None and (e.key_frame is not None or not self.identities)
        signed = s.signed_digest(c.n) if self.trust is not None else None
        proof = "unverified" if self.trust is None else "signed" if signed else None
        if not proof and len(s.waiting.get(c.n, ())) >= MAX_CLAIMS:
            s.forged(c.n, "too many messages claim this number")
        if not proof or (c.locked and self.identities):
            self.hold(c)
        if prove:
            prove()
        self.streams[s.key], s.epochs[e.id] = s, e
        if loss:
            s.lose(loss)
        if proof:
            self.settle(s, c, proof)
        else:
            s.waiting.setdefault(c.n, []).append(c)
            self.show(s, c)
        if key_frame and e.key_frame is None:
            self.key_frame(s, e, m, key_frame)

    def stream(self, key):
        if key not in self.streams and len(self.streams) >= MAX_STREAMS:
            refuse("given-up", "too many streams")
        return self.streams.get(key) or Stream(key)

    def gateway(self, name):
        if name not in self.gateways and len(self.gateways) >= MAX_STREAMS:
            refuse("given-up", "too many gateways")
        return self.gateways.setdefault(name, Gateway())

    def repeated(self, s, c):
        """Whether this very message came before."""
        if any(x.digest == c.digest for x in s.waiting.get(c.n, ())):
            return True
        if self.trust is None:
            if s.seen.get((c.epoch.id, c.n), c.digest) != c.digest:
                s.forged(c.n, "another message has this number, and nothing tells which is right")
            return c.n in c.epoch.came or c.waits_for_key
        if c.waits_for_key:
            return True
        if c.n <= s.forgotten:
            return c.n in s.came or refuse("given-up", "what was signed under this number is forgotten")
        return c.n in s.came and s.signed_digest(c.n) == c.digest

    def claim(self, s, c):
        """Refuses what cannot be what the gateway sent under this number."""
        signed = s.signed_digest(c.n)
        if signed:
            return None if signed == c.digest else s.forged(c.n, "another message has this number")
        if c.epoch.closed is not None and c.n > c.epoch.closed:
            s.forged(c.n, "its epoch was closed before")

    def admit(self, s, e, n, a, b):
        """A signature says that numbers a to b are of epoch e: what remembers it, where that can be."""
        low, high = min(a, e.low or a), max(b, e.high or b)
        starts, cls = self.gateway(s.key[0]).starts, None
        if starts.get(e.id.start, e.id.instance) != e.id.instance:
            cls = "clone"
        for x in s.epochs.values():
            if not cls and x is not e and x.low is not None and (x.high >= low if x.id.before(e.id) else x.low <= high):
                cls = "rollback"
        if not cls:

            def prove():
                starts[e.id.start] = e.id.instance
                e.low, e.high = low, high

            return prove
        if e.low is None:  # nothing of this epoch counts
            e.refused = cls
            for x in s.all(e):
                self.drop(s, x)
                s.forgery(x.n, cls)
        self.streams[s.key], s.epochs[e.id] = s, e
        s.forgery(n, cls)
        return refuse(cls, "another instance has this start counter" if cls == "clone" else "the numbering went back")

    # Waiting for a signature or a key.

    def hold(self, c):
        if self.waiting >= MAX_WAITING or self.waiting_bytes + len(c.m.body) > MAX_WAITING_BYTES:
            refuse("given-up", "too much is waiting")
        self.waiting, self.waiting_bytes, c.held = self.waiting + 1, self.waiting_bytes + len(c.m.body), True

    def release(self, c):
        if c.held:
            self.waiting, self.waiting_bytes, c.held = self.waiting - 1, self.waiting_bytes - len(c.m.body), False

    def drop(self, s, c):
        """Takes a message from those that wait for a signature."""
        s.waiting[c.n].remove(c)
        if not s.waiting[c.n]:
            del s.waiting[c.n]
        self.release(c)

    def show(self, s, c):
        """With now: the first message under a number of an epoch, as pending. Catalogues wait."""
        wait = (c.locked and self.identities) or "catalogue" in (c.content or {})
        if self.now and not c.shown and next(x for x in s.waiting[c.n] if x.epoch is c.epoch) is c and not wait:
            c.shown = self.deliver(s, c, "pending")

    def settle(self, s, c, proof):
        """A message that needs no other word: out with it, or to those without a key."""
        if c.locked and self.identities and not c.shown:
            if not c.held:
                self.hold(c)
            c.epoch.locked.append((c.n, c, proof))
            c.epoch.digests.add(c.digest)
            return
        self.release(c)
        if proof == "unverified":
            s.see(c)
        s.begin(c)
        if not c.shown:
            self.deliver(s, c, proof)

    def deliver(self, s, c, proof):
        if not c.payload:
            return False
        m, unopened = c.m, c.content is None
        s.unopened += unopened
        self.out.append({
            "gateway": m.gateway, "machine": m.machine, "level": m.level, "epoch": m.epoch, "sequence": m.sequence, "kind": KINDS[m.kind],
            "point": m.point, "content_type": m.content_type, "time": m.time, "proof": proof, "sealed": c.frame is not None,
            "unopened": unopened, "base": "", "samples": [], "catalogue": [], "payload": None, **(c.content or {}),
        })  # fmt: skip
        return True

    def key_frame(self, s, e, m, frame):
        """The first key frame of an epoch: what waited for it is opened."""
        e.key_frame, refusal = m.body, None
        if self.identities:
            try:
                e.key = unseal(frame, self.identities)
            except Refusal as r:
                refusal = r

        def opens(c):
            try:
                if e.key:
                    c.content = open_data(c.m, c.frame, e.key)
                c.unopened = not e.key
                return True
            except Refusal as r:
                s.forgery(c.n, r.cls)
                return False

        locked, e.locked, e.digests = e.locked, [], set()
        claims = [(c.n, c, None) for c in s.all(e) if c.sealed]
        for n, c, proof in sorted(locked + claims, key=lambda x: x[0]):
            good = opens(c)
            if not proof:
                if good:
                    self.show(s, c)
                else:
                    self.drop(s, c)
                continue
            self.release(c)
            if good and self.trust is None and n in e.came:
                s.forgery(n, "forged")
            elif good:
                if self.trust is None:
                    s.see(c)
                s.begin(c)
                self.deliver(s, c, proof)
        if refusal:
            raise refusal

    def checkpoint(self, s, e, p, prove):
        at = s.place(p.sequence)
        after = s.checkpoints[at] if at < len(s.checkpoints) else None
        last = s.checkpoints[at - 1] if at else None
        if (
            (after and (after.first <= p.sequence or (after.first == p.sequence + 1 and after.previous != p.hash)))
            or (last and (last.sequence >= p.first or (last.sequence == p.first - 1 and p.previous != last.hash)))
            or (p.first == 1 and p.previous != bytes(32))
        ):
            s.forgery(p.sequence, "clone")
            refuse("clone", "it does not continue the checkpoints beside it, or is a second one")
        prove()
        self.streams[s.key], s.epochs[e.id] = s, e
        s.checkpoints.insert(at, p)
        s.came.add(p.sequence)
        if p.closing:
            e.closed = p.sequence
        for n in range(p.first, p.sequence + 1):
            wanted, claims = s.signed_digest(n), s.waiting.pop(n, ())
            right = next((c for c in claims if c.digest == wanted), None)
            for c in claims:
                if c.digest == wanted:
                    self.settle(s, c, "signed")
                else:
                    self.release(c)
                    s.forgery(n, "forged")
                    if c.key and not (right and right.key):
                        c.epoch.unkey()
        for c in s.all(e) if p.closing else ():
            if c.n > p.sequence:
                self.drop(s, c)
                s.forgery(c.n, "forged")
                if c.key:
                    c.epoch.unkey()
        self.digests += len(p.digests) // 16 + 1
        while self.digests > MAX_DIGESTS and len(s.checkpoints) > 1:
            old = s.checkpoints.pop(0)
            s.forgotten = old.sequence
            self.digests -= len(old.digests) // 16 + 1

    def statement(self, m, st):
        g = self.gateway(m.gateway)
        if g.newest and st.order == g.newest.order and st.content != g.newest.content:
            refuse("clone", "the gateway made two statements under one number")
        starts = dict(g.starts)
        for start, instance in [(st.start, st.instance)] + [h.epoch[:2] for h in st.heads]:
            if starts.setdefault(start, instance) != instance:
                refuse("clone", "another instance has this start counter")
        for h in st.heads:
            known = g.heads.get((h.machine, h.level))
            if known and st.order == known.order and h[2:4] != known[2:4]:
                refuse("clone", "the gateway made two statements under one number")
            if known:
                a, b = (known, h) if st.order > known.order else (h, known)
                if b.epoch.before(a.epoch) or b.sequence < a.sequence:
                    refuse("rollback", "a stream was further in an earlier statement")
        g.starts = starts
        for h in st.heads:
            known = g.heads.get((h.machine, h.level))
            if (self.trust is not None or (m.gateway, h.machine, h.level) in self.streams) and (not known or st.order > known.order):
                g.heads[h.machine, h.level] = h
        if not g.newest or st.order > g.newest.order:
            g.newest, st.came = st, self.clock()

    def report(self):
        """The account of all streams and gateways so far."""
        verdicts, streams = set(self.classes), dict(self.streams)
        for name, g in self.gateways.items():
            for h in g.heads.values():
                streams.setdefault((name, h.machine, h.level), Stream((name, h.machine, h.level)))
        out = [self.stream_report(streams[key], verdicts) for key in sorted(streams, key=lambda k: [x.encode() for x in k])]
        gateways, now = [], self.clock()
        for name, g in self.gateways.items():
            if not (n := g.newest):
                continue
            patience = 3 * n.interval * 10**6
            silent = now - n.came > patience or (n.clock != 0 and now - n.time > patience)
            verdicts |= {"silent"} if silent else set()
            gateways.append({
                "gateway": name, "statement": n.sequence, "time": n.time, "clock": ("unknown", "plausible", "synchronised")[n.clock],
                "policy": n.policy.hex(), "audit_size": n.audit_size, "audit_head": n.audit_head.hex(), "interval_ms": n.interval,
                "proof": "unverified" if self.trust is None else "signed", "silent": silent,
            })  # fmt: skip
        return {"verdicts": sorted(verdicts), "streams": out, "gateways": gateways}

    def stream_report(self, s, verdicts):
        waiting, have = s.all(), Ranges()
        for a, b in s.came.list + s.lost.list:
            have.add(a, b)
        claims = waiting + [x for e in s.epochs.values() for _, x, _ in e.locked]
        for c in claims:
            have.add(c.n)
        highest = max([s.came.last()] + [c.n for c in claims])
        start = s.first  # or of what only waits
        if start is None:
            start = min([c.n for c in claims if c.payload] + [highest + 1])
        gaps, trimmed = have.missing(1, highest), 0
        if self.trimmed and gaps and gaps[0][0] < start:
            trimmed, gaps = start - 1, have.missing(start, highest)
        g = self.gateways.get(s.key[0])
        head = g and g.heads.get(s.key[1:])
        stated = head.sequence if head else 0
        without_key = sum(c.locked for c in waiting) + sum(len(e.locked) for e in s.epochs.values())
        r = {
            "gateway": s.key[0], "machine": s.key[1], "level": s.key[2], "highest": highest,
            "signed_through": s.checkpoints[-1].sequence if s.checkpoints else 0, "trimmed": trimmed, "gaps": gaps,
            "withheld": [[highest + 1, stated]] if stated > highest else [], "stated": stated,
            "losses": [vars(x) for x in s.losses], "forgeries": s.forgeries, "pending": sum(c.payload for c in waiting),
            "no_key_frame": without_key if self.identities else 0, "unopened": s.unopened, "duplicates": s.duplicates,
        }  # fmt: skip
        plural = {"gaps": "gap", "losses": "loss", "duplicates": "duplicate", "no_key_frame": "no-key-frame"}
        counted = ("withheld", "trimmed", "pending", "unopened", *plural)
        verdicts.update(plural.get(k, k) for k in counted if r[k])
        verdicts.update(f["class"] for f in s.forgeries)
        return r
