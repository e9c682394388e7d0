// What each kind of message holds, and whose word it is: docs/format.md, 1 to 4
// and 6 to 8. These functions read and verify; the account is in fieldseal.mjs.

import { createDecipheriv } from 'node:crypto'
import {
  array, bytes, catalogue, clearPack, decode, encode, fail, integer, map, plaintext, Tagged, text, time64, u32, u64,
} from './codec.mjs'
import { openHPKE, sha256, signedBy, thumbprint } from './keys.mjs'

export const kinds = ['', 'data', 'passthrough', 'key-frame', 'checkpoint', 'loss-record', 'statement', 'event']

const maxBody = 122880
const sealedType = 'application/cose; cose-type="cose-encrypt0"'
const signedType = 'application/cose; cose-type="cose-sign1"'
const clearType = 'application/senml+json'
const catalogueType = 'application/vnd.fieldseal.catalogue.v1+cbor'
const typ = what => `application/vnd.fieldseal.${what}.v1`
const none = Buffer.alloc(0)

/** Why one message was not taken. */
export class Refusal extends Error {
  constructor(cls, reason) {
    super(`${cls}: ${reason}`)
    this.class = cls
  }
}

export function refuse(cls, reason) { throw new Refusal(cls, reason) }

export const epochName = e => `${e.start}-${e.instance}-${e.number}`

const hex = b => Buffer.from(b).toString('hex')
const kid = (x, what) => hex(bytes(x, 8, what))

// Messages, section 1.

/** What every message has to be. */
export function check(m) {
  if (m.body.length > maxBody) refuse('oversize', 'the body is too large')
  for (const k of ['gateway', 'machine', 'level', 'point', 'contentType']) text(m[k], 256, k)
  const kind = kinds[m.kind]
  if (!kind) refuse('unsupported', 'a kind that this version does not know')
  if (!m.gateway) fail('no gateway')
  if (m.point && kind !== 'passthrough' && kind !== 'event') fail('a point where none belongs')
  if (kind === 'statement' ? m.machine || m.level || m.epoch.number : !m.machine || !m.level) fail('a name that is missing, or too much')
  integer(m.sequence, 1n, u64, 'sequence')
}

export function digest(m) {
  const { start, instance, number } = m.epoch
  return hex(sha256(encode([
    'fieldseal digest 1', m.gateway, m.machine, m.level, m.kind, m.point, start, Buffer.from(instance, 'hex'), number,
    m.sequence, m.contentType, m.time, sha256(m.body),
  ])).subarray(0, 16))
}

/** A message in the array form, as it stands in segments. */
export function fromArray(x) {
  const f = array(x, 13, 'message')
  const [gateway, machine, level, point, contentType] = [0, 1, 2, 4, 9].map(i => text(f[i], Infinity, 'name'))
  return {
    gateway, machine, level, kind: Number(integer(f[3], 0n, 255n, 'kind')), point,
    epoch: epochOf(f.slice(5)), sequence: integer(f[8], 0n, u64, 'sequence'), contentType, time: time64(f[10], 'time'),
    id: bytes(f[11], 16, 'id'), body: bytes(f[12], -1, 'body'),
  }
}

function epochOf([start, instance, number]) {
  return {
    start: integer(start, 0n, u64, 'start'), instance: hex(bytes(instance, 8, 'instance')), number: integer(number, 0n, u32, 'number'),
  }
}

const streamOf = f => JSON.stringify(f.slice(0, 3).map(x => text(x, 256, 'name')))
const sameStream = (f, m) => streamOf(f) === streamOf([m.gateway, m.machine, m.level])
const sameAddress = (f, m) => [sameStream(f, m), epochName(epochOf(f.slice(3))) === epochName(m.epoch)].every(Boolean)

function tagged(body, tag, n) {
  const item = decode(body)
  if (!(item instanceof Tagged) || item.tag !== tag) fail('another tag')
  return array(item.value, n, 'body')
}

const header = (b, labels) => map(decode(bytes(b, -1, 'header')), labels, 'header')

function gcm(key, nonce, aad, sealed) {
  const d = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
  d.setAAD(aad).setAuthTag(sealed.subarray(-16))
  return Buffer.concat([d.update(sealed.subarray(0, -16)), d.final()])
}

// Signatures, section 2.

/**
 * The payload of a COSE_Sign1, and verify(time, ours): it refuses what no trusted
 * key signed, or not before that key's end, and what the message is not. trust is
 * null where nothing is verified.
 */
function signed(m, what, trust) {
  const [protectedHeader, unprotected, payload, signature] = tagged(m.body, 18, 4)
  const p = header(protectedHeader, [1, 4, 16])
  if (p.get(1) !== -8 && p.get(1) !== -19) fail('an algorithm that no gateway signs with')
  if (p.get(16) !== typ(what)) fail('another typ')
  map(unprotected, [], 'unprotected header')
  bytes(payload, -1, 'payload')
  bytes(signature, 64, 'signature')
  const signer = kid(p.get(4), 'key id')
  const verify = (time, ours) => {
    if (trust) {
      const key = signedBy(trust.get(m.gateway), signer, protectedHeader, payload, signature)
      if (!key) refuse('bad-signature', 'no trusted key signed it')
      if (key.until !== null && time > key.until) refuse('bad-signature', 'it was signed after the end of its key')
    }
    if (!ours || m.contentType !== signedType) refuse('tampered', `the ${what} inside is not of this message`)
  }
  return { payload, verify }
}

// Key frames, section 3.

export function parseKeyFrame(m, trust) {
  const { payload, verify } = signed(m, 'key-frame', trust)
  const [protectedHeader, unprotected, ciphertext, recipients] = tagged(payload, 96, 4)
  const p = header(protectedHeader, [1, 3, 16, -65537])
  if (p.get(1) !== 3 || p.get(3) !== 101 || p.get(16) !== typ('key-frame')) fail('header of the encryption')
  const f = array(p.get(-65537), 9, 'what it is the key of')
  const time = time64(f[7], 'time'), sequence = integer(f[6], 0n, u64, 'sequence')
  const ours = sameAddress(f, m) && sequence === m.sequence // its message may have another time
  const frame = {
    header: protectedHeader, hash: sha256(payload), thumbprint: bytes(f[8], 32, 'thumbprint'),
    iv: bytes(map(unprotected, [5], 'unprotected header').get(5), 12, 'IV'),
    ciphertext: bytes(ciphertext, -1, 'ciphertext'),
  }
  if (frame.ciphertext.length < 17) fail('a ciphertext without a plaintext')
  if (array(recipients, -1, 'recipients').length < 1 || recipients.length > 64) fail('no recipients, or too many')
  frame.recipients = recipients.map(r => {
    const [h, u, sealedKey] = array(r, 3, 'recipient')
    const about = header(h, [1, 4])
    return { // one of an algorithm that is not known is passed over
      header: h, alg: Number(time64(about.get(1), 'algorithm')), kid: kid(about.get(4), 'key id'),
      ciphertext: bytes(sealedKey, -1, 'content key'),
      ek: bytes(map(u, [-4], 'unprotected header').get(-4), -1, 'encapsulated key'),
    }
  })
  verify(time, ours)
  return frame
}

/** The epoch's key, for one of these identities. */
export async function unseal(frame, identities) {
  let mine = false
  for (const r of frame.recipients) {
    for (const id of identities) {
      if (r.kid !== id.kid || r.alg !== id.alg) continue
      mine = true
      try {
        const contentKey = await openHPKE(id, r.ek, r.ciphertext, encode(['HPKE Recipient', 3, r.header, none]))
        return epochKey(gcm(contentKey, frame.iv, encode(['Encrypt', frame.header, none]), frame.ciphertext), frame)
      } catch { /* a key id proves nothing: another recipient may be the one */ }
    }
  }
  return mine ? refuse('tampered', 'the key in it cannot be opened') : refuse('wrong-recipient', 'its epoch is for others')
}

function epochKey(plain, frame) {
  const k = map(decode(plain), [1, 2, 3, 4, 5, -1], 'key')
  const key = bytes(k.get(-1), 32, 'k'), print = thumbprint([[1, 4], [-1, key]])
  if (k.get(1) !== 4 || k.get(3) !== 3 || array(k.get(4), 1, 'use')[0] !== 4) fail('another kind of key')
  if (!print.equals(frame.thumbprint) || hex(print.subarray(0, 8)) !== kid(k.get(2), 'key id')) fail('another key')
  return { key, kid: hex(print.subarray(0, 8)), iv: bytes(k.get(5), 12, 'Base IV'), hash: frame.hash }
}

// Data, sections 4 and 5.

const base = m => m.machine + '/'

/** { content } of clear samples or catalogues, or the { frame } that is sealed. */
export function parseData(m) {
  if (m.contentType === clearType) return { content: clearPack(m.body, base(m)) }
  if (m.contentType === catalogueType) return { content: catalogue(decode(m.body), base(m)) }
  if (m.contentType !== sealedType) refuse('unsupported', 'samples of a content type that this version does not know')
  const [protectedHeader, unprotected, ciphertext] = tagged(m.body, 16, 3)
  const p = header(protectedHeader, [1, 4, 6])
  const iv = bytes(p.get(6), -1, 'Partial IV')
  map(unprotected, [], 'unprotected header')
  if (p.get(1) !== 3 || iv.length < 1 || iv.length > 8 || iv[0] === 0) fail('algorithm or Partial IV')
  if (bytes(ciphertext, -1, 'ciphertext').length < 17) fail('a ciphertext without a plaintext')
  const frame = { header: protectedHeader, kid: kid(p.get(4), 'key id'), iv, ciphertext }
  if (BigInt('0x' + hex(iv)) !== m.sequence) refuse('tampered', 'the frame inside has another number')
  return { frame }
}

export function openData(m, frame, key) {
  if (frame.kid !== key.kid) refuse('tampered', 'the frame is of another key')
  const nonce = Buffer.from(key.iv)
  for (let i = 1; i <= frame.iv.length; i++) nonce[12 - i] ^= frame.iv[frame.iv.length - i]
  try {
    return plaintext(gcm(key.key, nonce, encode(['Encrypt0', frame.header, key.hash]), frame.ciphertext), base(m))
  } catch (err) {
    return refuse('tampered', err.message)
  }
}

// Checkpoints, loss records and statements, sections 6 to 8.

export function parseCheckpoint(m, trust) {
  const { payload, verify } = signed(m, 'checkpoint', trust)
  const f = array(decode(payload), 12, 'checkpoint')
  const sequence = integer(f[6], 1n, u64, 'sequence'), first = integer(f[7], 1n, sequence, 'first')
  const covered = sequence - first, time = time64(f[10], 'time')
  if (covered > 4096n || typeof f[9] !== 'boolean') fail('it covers too much, or closing is no boolean')
  const ours = sameAddress(f, m) && sequence === m.sequence && time === m.time
  const checkpoint = {
    first, sequence, previous: hex(bytes(f[8], 32, 'previous')), closing: f[9],
    digests: Buffer.from(bytes(f[11], Number(covered) * 16, 'digests')), own: digest(m), hash: hex(sha256(m.body)),
  }
  verify(time, ours)
  return checkpoint
}

export function parseLoss(m, trust) {
  const { payload, verify } = signed(m, 'loss', trust)
  const f = array(decode(payload), 10, 'loss record')
  const loss = {
    epoch: epochOf(f.slice(3)), first: integer(f[6], 1n, u64, 'first'), last: integer(f[7], 1n, u64, 'last'),
    reason: text(f[8], 256, 'reason'), time: time64(f[9], 'time'),
  }
  const ours = sameStream(f, m)
  if (loss.last < loss.first) fail('a loss of nothing')
  verify(loss.time, ours)
  return loss
}

export function parseStatement(m, trust) {
  const { payload, verify } = signed(m, 'statement', trust)
  const f = array(decode(payload), 11, 'statement')
  const st = {
    start: integer(f[1], 0n, u64, 'start'), instance: hex(bytes(f[2], 8, 'instance')), sequence: integer(f[3], 1n, u64, 'sequence'),
    time: time64(f[4], 'time'), clock: Number(integer(f[5], 0n, 2n, 'clock')), interval: integer(f[6], 1n, 86400000n, 'interval'),
    policy: hex(bytes(f[7], 32, 'policy')), auditSize: integer(f[8], 0n, u64, 'audit size'), auditHead: hex(bytes(f[9], 32, 'audit head')),
    content: digest(m),
  }
  if (st.auditSize === 0n && !/^0+$/.test(st.auditHead)) fail('the head of an empty audit log')
  if (array(f[10], -1, 'heads').length > 200) fail('too many heads')
  st.heads = f[10].map(h => {
    const [machine, level, start, instance, number, sequence] = array(h, 6, 'head')
    if (!text(machine, 256, 'machine') || !text(level, 256, 'level')) fail('a head without a name')
    return { machine, level, ...epochOf([start, instance, number]), sequence: integer(sequence, 1n, u64, 'sequence'), of: st }
  })
  for (let i = 1; i < st.heads.length; i++) {
    const [a, b] = [st.heads[i - 1], st.heads[i]]
    const order = Buffer.compare(Buffer.from(a.machine), Buffer.from(b.machine))
    if (order > 0 || (order === 0 && Buffer.compare(Buffer.from(a.level), Buffer.from(b.level)) >= 0)) fail('heads out of order')
  }
  const { start, instance, number } = m.epoch
  verify(st.time, text(f[0], 256, 'gateway') === m.gateway && st.start === start && st.instance === instance && number === 0n &&
    st.sequence === m.sequence && st.time === m.time)
  return st
}
