// Keys: identity files, trusted gateways, and HPKE (docs/format.md, 2, 3, 10).

import { createHash, createPublicKey, verify } from 'node:crypto'
import { AEAD_AES_128_GCM, AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256 } from 'hpke'
import {
  KDF_SHAKE256, KEM_DHKEM_P256_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256, KEM_MLKEM768_P256, KEM_MLKEM768_X25519,
} from '@panva/hpke-noble'
import { bytes, decode, encode, fail, map } from './codec.mjs'

/** The HPKE suite of each algorithm. */
export const algorithms = new Map([
  [57, [KEM_MLKEM768_X25519, KDF_SHAKE256, AEAD_AES_256_GCM]],
  [55, [KEM_MLKEM768_P256, KDF_SHAKE256, AEAD_AES_256_GCM]],
  [53, [KEM_DHKEM_P256_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM]],
  [49, [KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_128_GCM]],
])

export const sha256 = b => createHash('sha256').update(b).digest()

/** The COSE key thumbprint (RFC 9679), of which the first 8 bytes are the kid. */
export const thumbprint = pairs => sha256(encode(new Map(pairs)))
const kidOf = pairs => thumbprint(pairs).subarray(0, 8).toString('hex')

/** The key in an identity file: { alg, kid, secret }. */
export function parseIdentity(pem) {
  const found = /^-----BEGIN FIELDSEAL IDENTITY-----\n(?:[\w-]+: [^\n]*\n)*\n?([A-Za-z0-9+/=\n]+)-----END FIELDSEAL IDENTITY-----\s*$/.exec(pem)
  if (!found) throw new Error('no identity file: fieldseal keys recipient NAME makes one')
  const key = decode(Buffer.from(found[1], 'base64'))
  const b = (label, n) => bytes(key.get(label), n, 'key')
  switch (key instanceof Map && key.get(1)) {
    case 7: {
      map(key, [1, 3, -1, -2], 'key')
      const alg = key.get(3), pub = b(-1, { 57: 1216, 55: 1249 }[alg] ?? 0)
      return { alg, kid: kidOf([[1, 7], [3, alg], [-1, pub]]), secret: b(-2, 32) }
    }
    case 1:
      map(key, [1, 3, -1, -2, -4], 'key')
      if (key.get(3) !== 49 || key.get(-1) !== 4) fail('a key of another algorithm')
      return { alg: 49, kid: kidOf([[1, 1], [-1, 4], [-2, b(-2, 32)]]), secret: b(-4, 32) }
    case 2:
      map(key, [1, 3, -1, -2, -3, -4], 'key')
      if (key.get(3) !== 53 || key.get(-1) !== 1) fail('a key of another algorithm')
      return { alg: 53, kid: kidOf([[1, 2], [-1, 1], [-2, b(-2, 32)], [-3, b(-3, 32)]]), secret: b(-4, 32) }
    default: return fail('a key of another type')
  }
}

/** The content key for this identity; throws where it is for somebody else. */
export async function openHPKE(identity, ek, ciphertext, info) {
  const suite = new CipherSuite(...algorithms.get(identity.alg))
  return suite.Open(await suite.DeserializePrivateKey(identity.secret), ek, ciphertext, { info })
}

/** A gateway's signing key; until is the last moment of it, in Unix nanoseconds, or null. */
export function gatewayKey(x, until = null) {
  return {
    kid: kidOf([[1, 1], [-1, 6], [-2, x]]),
    key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(x).toString('base64url') }, format: 'jwk' }),
    until,
  }
}

/** GATEWAY=ed25519:BASE64[,until=YYYY-MM-DD], as keys export signing prints it, put into trust. */
export function addTrust(trust, line) {
  const found = /^([^=]+)=ed25519:([A-Za-z0-9+/]{43}=)(?:,until=(\d{4}-\d\d-\d\d))?$/.exec(line)
  if (!found) throw new Error(`${line}: write GATEWAY=ed25519:BASE64, or GATEWAY=ed25519:BASE64,until=2028-12-31`)
  const until = found[3] ? BigInt(Date.parse(found[3]) + 86400000) * 1000000n - 1n : null
  trust.set(found[1], [...(trust.get(found[1]) ?? []), gatewayKey(Buffer.from(found[2], 'base64'), until)])
}

/** Whether a key of this gateway with this kid signed, and until when it counts. */
export function signedBy(keys, kid, protectedHeader, payload, signature) {
  const data = encode(['Signature1', protectedHeader, Buffer.alloc(0), payload])
  return keys.find(k => k.kid === kid && verify(null, data, k.key, signature))
}
