// CBOR and SenML as docs/format.md has them: what a gateway writes, and nothing
// else. Whatever is not in that one form is an error.

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A float is kept apart from an integer: 5 and 5.0 are two kinds of value. */
export class Float {
  constructor(value) { this.value = value }
}

export class Tagged {
  constructor(tag, value) { this.tag = tag; this.value = value }
}

/** What is wrong with the bytes of a message. */
export class Malformed extends Error {}

export function fail(what) { throw new Malformed(what) }

const maxDepth = 8

/** Reads one item of deterministic CBOR after the other (RFC 8949, 4.2.1). */
export class Decoder {
  constructor(bytes) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = 0
    this.cut = false // an item was not wrong but longer than the bytes
  }

  get more() { return this.at < this.bytes.length }

  need(n) {
    if (n > this.bytes.length - this.at) {
      this.cut = true
      fail('it ends too soon')
    }
    this.at += n
    return this.at - n
  }

  /** The argument of a head, in the fewest bytes; BigInt only beyond 2^53. */
  argument(info) {
    if (info < 24) return info
    let n, least
    switch (info) {
      case 24: n = this.view.getUint8(this.need(1)); least = 24; break
      case 25: n = this.view.getUint16(this.need(2)); least = 0x100; break
      case 26: n = this.view.getUint32(this.need(4)); least = 0x10000; break
      case 27:
        n = this.view.getBigUint64(this.need(8))
        if (n <= BigInt(Number.MAX_SAFE_INTEGER)) n = Number(n)
        least = 0x100000000
        break
      default: fail('an indefinite or reserved length')
    }
    if (n < least) fail('a number in more bytes than it needs')
    return n
  }

  item(depth = 0) {
    if (depth > maxDepth) fail('nested too deeply')
    const head = this.bytes[this.need(1)]
    const major = head >> 5, info = head & 31
    if (major === 7) return this.simple(info)
    const n = this.argument(info)
    switch (major) {
      case 0: return n
      case 1: {
        const minus = -1n - BigInt(n)
        return minus >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(minus) : minus
      }
      case 2: case 3: {
        const from = this.need(Number(n))
        const part = this.bytes.subarray(from, this.at)
        if (major === 2) return part
        try { return utf8.decode(part) } catch { return fail('text that is not UTF-8') }
      }
      case 4: case 5: {
        if (n > this.bytes.length - this.at) { // each element takes a byte at least
          this.cut = true
          fail('it ends too soon')
        }
        if (major === 4) {
          const list = new Array(n)
          for (let i = 0; i < n; i++) list[i] = this.item(depth + 1)
          return list
        }
        const map = new Map()
        let before = null
        for (let i = 0; i < n; i++) {
          const from = this.at
          const label = this.item(depth + 1)
          const raw = this.bytes.subarray(from, this.at)
          if (before && Buffer.compare(before, raw) >= 0) fail('labels out of order')
          before = raw
          map.set(label, this.item(depth + 1))
        }
        return map
      }
      default: return new Tagged(n, this.item(depth + 1))
    }
  }

  simple(info) {
    switch (info) {
      case 20: return false
      case 21: return true
      case 26: { // section 4: binary32 where that is exact, NaN is binary64
        const f = this.view.getFloat32(this.need(4))
        if (Number.isNaN(f)) fail('a NaN of 32 bits')
        return new Float(f)
      }
      case 27: {
        const f = this.view.getFloat64(this.need(8))
        if (Math.fround(f) === f) fail('a float in more bytes than it needs')
        return new Float(f)
      }
      default: return fail('a simple value that the format does not use')
    }
  }
}

/** The only item in these bytes. */
export function decode(bytes) {
  const d = new Decoder(bytes)
  const item = d.item()
  if (d.more) fail('something follows the end')
  return item
}

function head(major, n) {
  n = BigInt(n)
  let size = 0
  if (n >= 24n) size = n < 0x100n ? 1 : n < 0x10000n ? 2 : n < 0x100000000n ? 4 : 8
  const out = Buffer.alloc(1 + size)
  if (size === 0) out[0] = (major << 5) | Number(n)
  else {
    out[0] = (major << 5) | { 1: 24, 2: 25, 4: 26, 8: 27 }[size]
    for (let i = size; i > 0; i--, n >>= 8n) out[i] = Number(n & 255n)
  }
  return out
}

/** Integers, bytes, text, arrays of them, and maps given in their order. */
export function encode(x) {
  if (typeof x === 'number' || typeof x === 'bigint') return x >= 0 ? head(0, x) : head(1, -1n - BigInt(x))
  if (typeof x === 'string') {
    const b = Buffer.from(x)
    return Buffer.concat([head(3, b.length), b])
  }
  if (x instanceof Uint8Array) return Buffer.concat([head(2, x.length), x])
  if (Array.isArray(x)) return Buffer.concat([head(4, x.length), ...x.map(encode)])
  return Buffer.concat([head(5, x.size), ...[...x].flatMap(([k, v]) => [encode(k), encode(v)])])
}

// What an item has to be, each with its error.

export const maxName = 256, maxValue = 65536

export function array(x, n, what) {
  if (!Array.isArray(x) || (n >= 0 && x.length !== n)) fail(`${what}: no array of ${n}`)
  return x
}

/** A map of exactly these labels, or of those among them that are there. */
export function map(x, labels, what, some = false) {
  if (!(x instanceof Map)) fail(`${what}: no map`)
  for (const k of x.keys()) if (!labels.includes(k)) fail(`${what}: a label that it does not have`)
  if (!some && x.size !== labels.length) fail(`${what}: a label is missing`)
  return x
}

export function bytes(x, n, what) {
  if (!(x instanceof Uint8Array) || (n >= 0 && x.length !== n)) fail(`${what}: no byte string of the right length`)
  return x
}

export function text(x, most, what) {
  if (typeof x !== 'string' || Buffer.byteLength(x) > most) fail(`${what}: no text, or too long`)
  return x
}

export const u64 = (1n << 64n) - 1n
export const u32 = (1n << 32n) - 1n
const low64 = -(1n << 63n), high64 = (1n << 63n) - 1n

export function integer(x, low, high, what) {
  if (typeof x !== 'number' && typeof x !== 'bigint') fail(`${what}: no integer`)
  const n = BigInt(x)
  if (n < low || n > high) fail(`${what}: out of range`)
  return n
}

export const time64 = (x, what) => integer(x, low64, high64, what)

function seconds(x) {
  if (!(x instanceof Tagged) || x.tag !== 4 || array(x.value, 2, 'time')[0] !== -9) fail('a time that is no 4([-9, n])')
  return time64(x.value[1], 'time')
}

// SenML in CBOR, section 4.

/** The pack or the catalogue in the plaintext of a data frame. */
export function plaintext(plain, base) {
  const d = new Decoder(plain)
  const item = d.item()
  const from = d.at
  const found = item instanceof Map ? catalogue(item, base) : pack(item, base)
  if (d.more && !padding(plain.length - from, plain.length).equals(plain.subarray(from))) fail('padding that is none')
  if (d.more && plain.length !== padme(from + 1)) fail('padding of another length than Padmé gives')
  return found
}

function padme(l) {
  const e = Math.floor(Math.log2(l)), s = Math.floor(Math.log2(e)) + 1
  const step = 2 ** (e - s)
  return Math.ceil(l / step) * step
}

function padding(n) {
  for (const size of [1, 2, 3, 5]) {
    const zeros = n - size
    if (zeros < 0) break
    const h = head(2, zeros)
    if (h.length === size) return Buffer.concat([h, Buffer.alloc(zeros)])
  }
  return Buffer.concat([head(2, 0), padding(n - 1)])
}

const recordLabels = [0, 1, 2, 3, 4, 8, -2, -3, 'q'], valueLabels = [2, 3, 4, 8]

function pack(records, wanted) {
  array(records, -1, 'pack')
  let base = '', now = 0n
  const samples = records.map((r, i) => {
    map(r, recordLabels, 'record', true)
    const s = { name: text(r.get(0), maxName, 'name'), unit: '', time: now, quality: 0, kind: 'none', value: null }
    if (r.has(1) && (s.unit = text(r.get(1), maxName, 'unit')) === '') fail('an empty unit')
    for (const label of valueLabels) {
      if (!r.has(label)) continue
      if (s.kind !== 'none') fail('two values')
      Object.assign(s, value(label, r.get(label)))
    }
    if ((i === 0) !== r.has(-2)) fail('a base name where none belongs, or none')
    if (i === 0 && (base = r.get(-2)) !== wanted) fail('the base name of another machine')
    if (r.has(-3)) {
      s.time = seconds(r.get(-3))
      if (i > 0 && s.time === now) fail('a base time that does not change')
      now = s.time
    } else if (i === 0) fail('no base time')
    if (r.has('q')) s.quality = Number(integer(r.get('q'), 1n, u32, 'quality'))
    if (s.quality >= 2 ** 31 && s.kind !== 'none') fail('a bad sample with a value')
    return s
  })
  return { base, samples }
}

function value(label, v) {
  switch (label) {
    case 3: return { kind: 'text', value: text(v, maxValue, 'value') }
    case 4: return typeof v === 'boolean' ? { kind: 'bool', value: v } : fail('no boolean')
    case 8: return bytes(v, -1, 'value').length > maxValue ? fail('bytes that are too long') : { kind: 'bytes', value: v }
  }
  if (v instanceof Float) return { kind: 'float', value: v.value }
  if (v instanceof Tagged) return { kind: 'time', value: seconds(v) }
  const n = integer(v, low64, u64, 'value')
  return { kind: n > high64 ? 'uint' : 'int', value: n }
}

/** A catalogue, sealed or clear. */
export function catalogue(m, wanted) {
  map(m, [0, 1], 'catalogue')
  if (m.get(0) !== wanted) fail('the base name of another machine')
  let before = null
  const entries = array(m.get(1), -1, 'entries').map(e => {
    const [name, id, unit, texts, tags] = array(e, 5, 'entry')
    const raw = Buffer.from(text(name, 256, 'name'))
    if (raw.length === 0 || (before && Buffer.compare(before, raw) >= 0)) fail('entries out of order')
    before = raw
    if (id !== '' && (typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id))) fail('an id that is none')
    if (!(texts instanceof Map) || !(tags instanceof Map)) fail('texts or tags that are no map')
    for (const [k, v] of texts) { time64(k, 'number'); text(v, 256, 'text') }
    for (const [k, v] of tags) { text(k, 256, 'tag'); text(v, 256, 'tag') }
    return { name, id, unit: text(unit, 256, 'unit'), texts: new Map([...texts].map(([k, v]) => [BigInt(k), v])), tags }
  })
  return { base: wanted, catalogue: entries }
}

// SenML in JSON, section 5. Reading is so narrow that no other form passes.

const string = '"((?:[^"\\\\\\x00-\\x1f]|\\\\["\\\\]|\\\\u00[01][0-9a-f])*)"'
const record = new RegExp(`\\{(?:"bn":${string},)?(?:"bt":(-?(?:0|[1-9]\\d*)(?:\\.\\d{0,8}[1-9])?),)?"n":${string}` +
  `(?:,"u":${string})?(?:,"v":([-+.e\\d]+)|,"vs":${string}|,"vb":(true|false)|,"vd":"([-\\w]*)")?` +
  '(?:,"q":([1-9]\\d{0,9}))?(?:,"vk":"(time|float|text)")?\\}', 'y')
const wordFloats = { NaN, Infinity, '-Infinity': -Infinity }

/** The samples in a clear body. */
export function clearPack(body, wanted) {
  let s
  try { s = utf8.decode(body) } catch { fail('no UTF-8') }
  if (s === '[]') return { base: '', samples: [] }
  const samples = []
  let at = 1, base = '', now = 0n
  if (s[0] !== '[') fail('no array')
  for (;;) {
    record.lastIndex = at
    const m = record.exec(s)
    if (!m) fail('a record in another form')
    at = record.lastIndex
    const [, bn, bt, n, u, v, vs, vb, vd, q, vk] = m
    const first = samples.length === 0
    if (first !== (bn !== undefined) || (first && bt === undefined)) fail('a base name or time where none belongs, or none')
    if (first && (base = unescape(bn)) !== wanted) fail('the base name of another machine')
    if (bt !== undefined) {
      const t = nanoseconds(bt)
      if (!first && t === now) fail('a base time that does not change')
      now = t
    }
    const x = { name: unescape(n), unit: u === undefined ? '' : unescape(u), time: now, quality: Number(q ?? 0), kind: 'none', value: null }
    if (u === '' || x.quality > 0xffffffff) fail('an empty unit, or no quality')
    Object.assign(x, clearValue(v, vs, vb, vd, vk))
    text(x.name, maxName, 'name')
    text(x.unit, maxName, 'unit')
    if (x.kind === 'text') text(x.value, maxValue, 'value')
    if (x.kind === 'bytes' && x.value.length > maxValue) fail('bytes that are too long')
    if (x.quality >= 2 ** 31 && x.kind !== 'none') fail('a bad sample with a value')
    samples.push(x)
    if (s[at] === ']' && at === s.length - 1) return { base, samples }
    if (s[at++] !== ',') fail('records in another form')
  }
}

// The pattern leaves \", \\ and \u00xx only, and nothing that JSON would not read.
const unescape = s => JSON.parse(`"${s}"`)

function clearValue(v, vs, vb, vd, vk) {
  if (vb !== undefined && vk === undefined) return { kind: 'bool', value: vb === 'true' }
  if (v !== undefined && vk === undefined) {
    if (/^(0|-?[1-9]\d*)$/.test(v)) {
      const n = integer(BigInt(v), low64, u64, 'value')
      return { kind: n > high64 ? 'uint' : 'int', value: n }
    }
    if (clearFloat(Number(v)) !== v) fail('a number in another form')
    return { kind: 'float', value: Number(v) }
  }
  if (vd !== undefined && (vk === undefined || vk === 'text')) {
    const b = Buffer.from(vd, 'base64url')
    if (b.toString('base64url') !== vd) fail('no base64url')
    if (vk === undefined) return { kind: 'bytes', value: b }
    let t
    try { t = utf8.decode(b) } catch { fail('text that is not UTF-8') }
    if (jsonSize(t) <= vd.length) fail('text as base64url that is shorter as it is')
    return { kind: 'text', value: t }
  }
  if (vs !== undefined) {
    const t = unescape(vs)
    if (vk === 'time') {
      const n = parseTime(t)
      if (n === null || rfc3339(n) !== t) fail('no time')
      time64(n, 'time')
      return { kind: 'time', value: n }
    }
    if (vk === 'float') return t in wordFloats ? { kind: 'float', value: wordFloats[t] } : fail('no float')
    if (vk === undefined) {
      if (jsonSize(t) > Math.ceil(Buffer.byteLength(t) * 4 / 3)) fail('text that is shorter as base64url')
      return { kind: 'text', value: t }
    }
  }
  if (vk !== undefined) fail('a kind without its value')
  return {}
}

function jsonSize(t) {
  let n = 0
  for (const x of Buffer.from(t)) n += x < 0x20 ? 6 : x === 0x22 || x === 0x5c ? 2 : 1
  return n
}

/** As the gateway writes a float in JSON: like JavaScript, but 5.0 and 1e-07. */
function clearFloat(f) {
  const s = Object.is(f, -0) ? '-0' : String(f)
  const [, digits, sign, exponent] = /^([^e]*)(?:e([-+])(\d+))?$/.exec(s) ?? []
  if (exponent) return `${digits}e${sign}${exponent.padStart(2, '0')}`
  return s.includes('.') ? s : s + '.0'
}

function nanoseconds(s) {
  const [whole, part = ''] = s.replace('-', '').split('.')
  const n = BigInt(whole + part.padEnd(9, '0'))
  return time64(s[0] === '-' ? (n === 0n ? fail('minus zero') : -n) : n, 'time')
}

let last = { ns: null, text: '' } // many samples have one time

/** Unix nanoseconds as RFC 3339, without needless zeros. */
export function rfc3339(ns) {
  if (ns !== last.ns) last = { ns, text: timeText(ns) }
  return last.text
}

function timeText(ns) {
  const part = ((ns % 1000000000n) + 1000000000n) % 1000000000n
  const whole = new Date(Number((ns - part) / 1000000n)).toISOString().slice(0, 19)
  const digits = part.toString().padStart(9, '0').replace(/0+$/, '')
  return whole + (digits && '.' + digits) + 'Z'
}

function parseTime(t) {
  const m = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(t)
  const ms = m && Date.parse(m[1] + 'Z')
  if (!m || Number.isNaN(ms)) return null
  return BigInt(ms) * 1000000n + BigInt((m[2] ?? '').padEnd(9, '0'))
}
