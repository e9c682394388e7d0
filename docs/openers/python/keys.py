"""Keys: identity files, trusted gateways, and HPKE (docs/format.md, 2, 3, 10; RFC 9180)."""

import base64
import hashlib
import hmac
import re
from datetime import datetime, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from codec import binary, decode, encode, fail, mapping

try:  # from version 47 on, with an OpenSSL that has it; Debian 12 has 38
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

    MLKEM768PrivateKey.from_seed_bytes(bytes(64))
except Exception:
    MLKEM768PrivateKey = None

ALGORITHMS = (57, 55, 53, 49)
SUPPORTED = ALGORITHMS if MLKEM768PrivateKey else (53, 49)


def sha256(b):
    return hashlib.sha256(b).digest()


def thumbprint(key):
    """The COSE key thumbprint (RFC 9679), of which the first 8 bytes are the kid."""
    return sha256(encode(key))


class Identity:
    def __init__(self, alg, public, secret):
        self.alg, self.kid, self.secret = alg, thumbprint(public)[:8], secret


def parse_identity(pem):
    m = re.fullmatch(r"-----BEGIN FIELDSEAL IDENTITY-----\n(?:[\w-]+: [^\n]*\n)*\n?([A-Za-z0-9+/=\n]+)-----END FIELDSEAL IDENTITY-----\s*", pem)
    if not m:
        raise ValueError("no identity file: fieldseal keys recipient NAME makes one")
    key = decode(base64.b64decode(m[1]))
    kind, alg = (key.get(1), key.get(3)) if type(key) is dict else (None, None)
    if kind == 7 and alg in (57, 55):
        mapping(key, (1, 3, -1, -2), "key")
        return Identity(alg, {1: 7, 3: alg, -1: binary(key[-1], {57: 1216, 55: 1249}[alg], "key")}, binary(key[-2], 32, "key"))
    if kind == 1 and alg == 49 and key.get(-1) == 4:
        mapping(key, (1, 3, -1, -2, -4), "key")
        return Identity(alg, {1: 1, -1: 4, -2: binary(key[-2], 32, "key")}, binary(key[-4], 32, "key"))
    if kind == 2 and alg == 53 and key.get(-1) == 1:
        mapping(key, (1, 3, -1, -2, -3, -4), "key")
        return Identity(alg, {1: 2, -1: 1, -2: binary(key[-2], 32, "key"), -3: binary(key[-3], 32, "key")}, binary(key[-4], 32, "key"))
    return fail("a key of another type")


class GatewayKey:
    """A gateway's signing key; until is the last moment of it, in Unix nanoseconds, or None."""

    def __init__(self, x, until=None):
        self.kid, self.key, self.until = thumbprint({1: 1, -1: 6, -2: x})[:8], Ed25519PublicKey.from_public_bytes(x), until


def add_trust(trust, line):
    """GATEWAY=ed25519:BASE64[,until=YYYY-MM-DD], as keys export signing prints it, put into trust."""
    m = re.fullmatch(r"([^=]+)=ed25519:([A-Za-z0-9+/]{43}=)(?:,until=(\d{4}-\d\d-\d\d))?", line)
    if not m:
        raise ValueError(f"{line}: write GATEWAY=ed25519:BASE64, or GATEWAY=ed25519:BASE64,until=2028-12-31")
    until = None
    if m[3]:
        until = (int(datetime.fromisoformat(m[3]).replace(tzinfo=timezone.utc).timestamp()) + 86400) * 10**9 - 1
    trust.setdefault(m[1], []).append(GatewayKey(base64.b64decode(m[2]), until))


def signed_by(keys, kid, protected, payload, signature):
    """The key with this kid that signed, or None."""
    data = encode(["Signature1", protected, b"", payload])
    for k in keys:
        if k.kid == kid:
            try:
                k.key.verify(signature, data)
                return k
            except InvalidSignature:
                pass
    return None


# HPKE, base mode.


def _extract(suite, salt, label, ikm):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite, prk, label, info, size):
    info = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block = b"", b""
    while len(out) < size:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:size]


def _dhkem(kem, dh, ek, public):
    suite = b"KEM" + kem
    prk = _extract(suite, b"", b"eae_prk", dh)
    return _expand(suite, prk, b"shared_secret", ek + public, 32)


def _p256(secret, ek):
    """The shared secret, and the public key that belongs to secret."""
    private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    dh = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), ek))
    return dh, private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _x25519(secret, ek):
    private = X25519PrivateKey.from_private_bytes(secret)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return private.exchange(X25519PublicKey.from_public_bytes(ek)), public


def _hybrid(alg, seed, ek):
    """ML-KEM-768 with X25519 or P-256 (draft-ietf-hpke-pq, draft-irtf-cfrg-concrete-hybrid-kems)."""
    expanded = hashlib.shake_256(seed).digest(64 + (32 if alg == 57 else 128))
    pq = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).decapsulate(ek[:1088])
    if alg == 57:
        label, secret = rb"\.//^" + b"\\", expanded[64:]
        dh, public = _x25519(secret, ek[1088:])
    else:
        label, order = b"MLKEM768-P256", 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        candidates = (expanded[i : i + 32] for i in range(64, 192, 32))
        secret = next(c for c in candidates if 0 < int.from_bytes(c, "big") < order)
        dh, public = _p256(secret, ek[1088:])
    return hashlib.sha3_256(pq + dh + ek[1088:] + public + label).digest()


def _prefixed(b):
    return len(b).to_bytes(2, "big") + b


def open_hpke(identity, ek, ciphertext, info):
    """What was sealed for this identity; an exception where it was not."""
    if identity.alg in (57, 55):  # one-stage key derivation with SHAKE256
        shared = _hybrid(identity.alg, identity.secret, ek)
        suite = b"HPKE" + (b"\x64\x7a" if identity.alg == 57 else b"\x00\x50") + b"\x00\x11\x00\x02"
        secrets, context = _prefixed(b"") + _prefixed(shared), b"\x00" + _prefixed(b"") + _prefixed(info)
        size = 32 + 12 + 64
        derived = hashlib.shake_256(secrets + b"HPKE-v1" + suite + _prefixed(b"secret") + size.to_bytes(2, "big") + context).digest(size)
        key, nonce = derived[:32], derived[32:44]
    else:
        kem, aead, size, exchange = (b"\x00\x10", b"\x00\x02", 32, _p256) if identity.alg == 53 else (b"\x00\x20", b"\x00\x01", 16, _x25519)
        dh, public = exchange(identity.secret, ek)
        shared = _dhkem(kem, dh, ek, public)
        suite = b"HPKE" + kem + b"\x00\x01" + aead
        context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
        secret = _extract(suite, shared, b"secret", b"")
        key, nonce = _expand(suite, secret, b"key", context, size), _expand(suite, secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")
