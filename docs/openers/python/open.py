"""Opens what is meant for you, as JSON lines:

  python3 open.py -i me.identity --trust-key hall-2=ed25519:… segments/
  python3 open.py -i me.identity --trust-key hall-2=ed25519:… --nats tls://hub:4222 \\
    --stream PLANT --prefix plant.augsburg --ca ca.pem --cert me.pem --key me.key

The exit code is 0 where everything is in order, 1 where it is not or nothing was
verified, 2 where it could not look.
"""

import argparse
import base64
import json
import math
import sys
from pathlib import Path

from codec import rfc3339
from fieldseal import Reader
from keys import SUPPORTED, add_trust, parse_identity
from sources import from_files, from_stream

HARMLESS = {"wrong-recipient", "unopened", "duplicate", "pending", "loss", "trimmed"}


def dump(x):
    return json.dumps(x, ensure_ascii=False, separators=(",", ":"), default=lambda b: b.hex()) + "\n"


def value(kind, v):
    if kind == "float" and not math.isfinite(v):
        return "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"
    return base64.b64encode(v).decode() if kind == "bytes" else rfc3339(v) if kind == "time" else v


KNOWN = {}  # what catalogues say: gateway, machine, level, and name or hidden name → entry


def lines(d):
    """The lines of one delivery. A catalogue has none: what it says stands in those of its points."""
    stream = d["gateway"], d["machine"], d["level"]
    for e in d["catalogue"]:
        KNOWN.update({(stream, name): e for name in (e["name"], e["id"]) if name})
    end = {"sealed": d["sealed"], "sequence": d["sequence"], "proof": d["proof"]}
    if d["kind"] == "passthrough":
        payload = {"payload": base64.b64encode(d["payload"]).decode(), "content_type": d["content_type"]}
        e = KNOWN.get((stream, d["point"]), {"name": d["point"], "unit": ""})
        yield {**place(d, d["time"], e["name"]), **({"unit": e["unit"]} if e["unit"] else {}), **payload, **end}
    for s in d["samples"]:
        out = place(d, s["time"], s["name"])
        if s["kind"] != "none":
            out["value"] = value(s["kind"], s["value"])
        e = KNOWN.get((stream, s["name"]), {"unit": "", "texts": {}})
        if s["unit"] or e["unit"]:
            out["unit"] = s["unit"] or e["unit"]
        if s["kind"] in ("int", "uint") and e["texts"].get(s["value"]):
            out["text"] = e["texts"][s["value"]]
        if s["quality"]:
            out["quality"] = f"0x{s['quality']:08X}"
        yield {**out, **end}


def place(d, time, point):
    return {"time": rfc3339(time), "gateway": d["gateway"], "machine": d["machine"], "point": point, "level": d["level"]}


def options():
    p = argparse.ArgumentParser(description="Opens what is meant for you, as JSON lines.")
    p.add_argument("files", nargs="*", help="segments, folders of them, or - for standard input")
    p.add_argument("-i", "--identity", action="append", default=[])
    p.add_argument("--trust-key", action="append", default=[], metavar="GATEWAY=ed25519:…[,until=YYYY-MM-DD]")
    for name in ("nats", "stream", "prefix", "ca", "cert", "key"):
        p.add_argument("--" + name)
    p.add_argument("--end", action="store_true", help="stop at the present end of the stream")
    p.add_argument("--now", action="store_true", help="do not wait for signatures")
    p.add_argument("--report", action="store_true", help="at the end a line on gaps, losses and forgeries")
    return p.parse_args()


def main():
    o, trust, foreign = options(), {}, []
    for line in o.trust_key:
        add_trust(trust, line)
    identities = [parse_identity(Path(f).read_text()) for f in o.identity]
    for i in identities:
        if i.alg not in SUPPORTED:
            print(f"algorithm {i.alg} is not supported: this cryptography library has no ML-KEM", file=sys.stderr)
    if (not o.stream or not o.prefix or o.files) if o.nats else not o.files:
        raise ValueError("name files, or a server with --nats, --stream and --prefix")
    reader = Reader(trust or None, identities, o.now)

    def say(text):
        foreign.append(None)
        print(text, file=sys.stderr)

    for m in from_stream(o, say) if o.nats else from_files(o.files, say):
        refusal, deliveries = reader.read(m)
        if refusal and refusal.cls not in HARMLESS:
            print(f"refused: message {m.sequence} of {m.gateway}/{m.machine}/{m.level}: {refusal}", file=sys.stderr)
        for d in deliveries:
            sys.stdout.writelines(map(dump, lines(d)))
        if o.nats and deliveries:
            sys.stdout.flush()
    report = reader.report()
    if o.report:
        for s in report["streams"]:
            s["losses"] = [{**x, "epoch": x["epoch"]._asdict()} for x in s["losses"]]
        print(dump({"report": report}), end="")
    bad, told = ([v for v in report["verdicts"] if (v in HARMLESS) == harmless] for harmless in (False, True))
    if told:
        print("of note:", ", ".join(told), "(see --report)", file=sys.stderr)
    if bad:
        print("not in order:", ", ".join(bad), file=sys.stderr)
    if not trust:
        print("nothing was verified: give each gateway's key with --trust-key", file=sys.stderr)
    if not report["streams"]:
        print("nothing came that a gateway sent: look at the files, or at --prefix", file=sys.stderr)
    return 1 if bad or foreign or not trust or not report["streams"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(2)
    except Exception as e:
        print(e, file=sys.stderr)
        sys.exit(2)
