"""Runs every test vector: python3 vectors.py [FOLDER]

One line for each; what cannot be opened is listed by name and counted. The exit
code is 1 where an answer is wrong.
"""

import base64
import json
import math
import sys
import traceback
from pathlib import Path

from fieldseal import KINDS, Epoch, Message, Reader
from keys import SUPPORTED, GatewayKey, parse_identity

FOLDER = Path(__file__).resolve().parents[3] / "bridge/envelope/testdata/vectors"


def message(m):
    e = m["epoch"]
    epoch = Epoch(e["start"], bytes.fromhex(e["instance"]), e["number"])
    kind = KINDS.index(m["kind"])
    body = base64.b64decode(m["body"])
    return Message(m["gateway"], m["machine"], m["level"], kind, m["point"], epoch, m["sequence"], m["content_type"], int(m["time"]), body)


# In the notation of the vectors.


def b64(b):
    return base64.b64encode(b).decode()


def epoch(e):
    return {"start": e.start, "instance": e.instance.hex(), "number": e.number}


def sample(s):
    v = s["value"]
    if s["kind"] == "bytes":
        v = b64(v)
    elif s["kind"] in ("int", "uint", "time"):
        v = str(v)
    elif s["kind"] == "float" and not math.isfinite(v):
        v = "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"
    return {**s, "time": str(s["time"]), "value": v}


def delivery(d):
    d = {k: v for k, v in d.items() if k != "gateway"}
    catalogue = [{**e, "texts": {str(k): v for k, v in e["texts"].items()}} for e in d["catalogue"]]
    payload = None if d["payload"] is None else b64(d["payload"])
    samples = [sample(s) for s in d["samples"]]
    return {**d, "epoch": epoch(d["epoch"]), "time": str(d["time"]), "samples": samples, "catalogue": catalogue, "payload": payload}


def stream(s):
    losses = [{**x, "epoch": epoch(x["epoch"]), "time": str(x["time"])} for x in s["losses"]]
    return {k: v for k, v in s.items() if k != "gateway"} | {"losses": losses}


def run(v):
    """What is wrong with the answer to one vector."""
    trust = None
    if v["trust"]:
        key = lambda k: GatewayKey(bytes.fromhex(k["public"]), int(k["until"]) if k["until"] else None)  # noqa: E731
        trust = {g["name"]: [key(k) for k in g["keys"]] for g in v["trust"]["gateways"]}
    identities = [parse_identity(i["file"]) for i in v["identities"]]
    reader = Reader(trust, identities, v["reader"]["now"], v["reader"]["trimmed"], lambda: int(v["reader"]["clock"]))
    wrong, deliveries = [], []

    def same(what, got, want):
        # As text: 5 and 5.0, 1 and true are not the same.
        if json.dumps(got, sort_keys=True) != json.dumps(want, sort_keys=True):
            wrong.append(f"{what}: {json.dumps(got)} instead of {json.dumps(want)}")

    same("kid", [i.kid.hex() for i in identities], [i["kid"] for i in v["identities"]])
    for i, m in enumerate(v["messages"], 1):
        refusal, out = reader.read(message(m))
        same(f"message {i} refused", refusal and refusal.cls, m["refused"])
        same(f"message {i} delivers", [d["sequence"] for d in out], m["delivers"])
        deliveries += map(delivery, out)
    for d in v["expect"]["deliveries"]:
        for s in d["samples"]:
            if s["kind"] == "float" and type(s["value"]) is int:  # JSON has 5 for 5.0
                s["value"] = float(s["value"])
    report = reader.report()
    same("deliveries", deliveries, v["expect"]["deliveries"])
    same("verdicts", report["verdicts"], v["expect"]["verdicts"])
    same("streams", [stream(s) for s in report["streams"]], v["expect"]["streams"])
    same("gateways", [{**g, "time": str(g["time"])} for g in report["gateways"]], v["expect"]["gateways"])
    return wrong


def main():
    valid = faulty = unsupported = failed = 0
    for file in sorted(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).glob("*.json")):
        v = json.loads(file.read_text(), parse_int=lambda n: -0.0 if n == "-0" else int(n))
        alien = [i["alg"] for i in v["identities"] if i["alg"] not in SUPPORTED]
        if alien:
            unsupported += 1
            print(f"unsupported  {v['name']}: algorithm {alien[0]}, this cryptography library has no ML-KEM")
            continue
        try:
            wrong = run(v)
        except Exception:
            wrong = [traceback.format_exc()]
        answer = " ".join(v["expect"]["verdicts"]) or "in order"
        if wrong:
            failed += 1
            print(f"WRONG        {v['name']}: {'; '.join(wrong)}")
        elif v["fault"]:
            faulty += 1
            print(f"right class  {v['name']}: {answer}")
        else:
            valid += 1
            print(f"opened       {v['name']}: {answer}")
    print(f"python: {valid} valid opened, {faulty} faulty with the right class, {unsupported} unsupported, {failed} wrong")
    return 1 if failed or not (valid and faulty) else 0


if __name__ == "__main__":
    sys.exit(main())
