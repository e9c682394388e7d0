// Where messages come from: segments of a files uplink (docs/format.md, 12), or
// a JetStream stream.

import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { bytes, Decoder, integer, Malformed, text, time64, u32, u64 } from './codec.mjs'
import { fromArray, kinds } from './frames.mjs'

const maxItem = 128 << 10 // no message is larger

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1
  return n
})

/** CRC-32C (Castagnoli). */
function crc32c(b) {
  let c = 0xffffffff
  for (const x of b) c = crcTable[(c ^ x) & 255] ^ (c >>> 8)
  return (c ^ 0xffffffff) >>> 0
}

/** The segments among files and folders, in order. */
function segments(paths) {
  return paths.flatMap(p => (p !== '-' && statSync(p).isDirectory()
    ? readdirSync(p).filter(f => /\.fseal(\.part)?$/.test(f)).sort().map(f => join(p, f))
    : [p]))
}

/** All messages in files, folders or standard input (-). damaged(text) is told what could not be read. */
export async function* fromFiles(paths, damaged) {
  for (const path of segments(paths)) {
    const input = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 20 })
    const scan = new Scan(text => damaged(`${path}: ${text}`))
    for await (const chunk of input) {
      yield* scan.messages(chunk, false)
      if (scan.later) break
    }
    if (!scan.later) yield* scan.messages(Buffer.alloc(0), true)
  }
}

/** Reads segments as they come, and steps over what is damaged. */
class Scan {
  rest = Buffer.alloc(0)
  lost = false // in what is no item
  later = false // a segment of another version

  constructor(damaged) { this.damaged = damaged }

  * messages(chunk, end) {
    const b = Buffer.concat([this.rest, chunk])
    let at = 0
    while (at < b.length && !this.later) {
      const found = whole(b.subarray(at))
      if (found === 'more' && !end && b.length - at <= maxItem) break
      if (found === 'more' || found === null) {
        if (!this.lost) this.damaged('a part of it is damaged')
        this.lost = true
        at++
        continue
      }
      this.lost = false
      at += found.size
      if (found.item.length === 3) {
        if (found.item[0] === 'fieldseal segment 1') continue
        this.later = String(found.item[0]).startsWith('fieldseal segment ')
        this.damaged('no segment of this version')
        continue
      }
      try { yield fromArray(found.item) } catch (e) {
        if (!(e instanceof Malformed)) throw e
        this.damaged(e.message)
      }
    }
    this.rest = b.subarray(at)
  }
}

/** The item at the beginning of b, a header or a message, if its CRC is right; 'more': b may end in the middle of one. */
function whole(b) {
  if (b[0] !== 0x83 && b[0] !== 0x8d) return null
  const d = new Decoder(b)
  try {
    const item = d.item(), size = d.at
    const crc = Buffer.from(bytes(d.item(), 4, 'CRC')).readUInt32BE()
    return crc === crc32c(b.subarray(0, size)) ? { item, size: d.at } : null
  } catch (e) {
    if (!(e instanceof Malformed)) throw e
    return d.cut ? 'more' : null
  }
}

const kindOf = { _keys: 3, _checkpoints: 4, _losses: 5, _statement: 6, _events: 7 }

/** The message in a NATS message; it throws where there is none. */
export function fromNATS(prefix, subject, headers, body) {
  const wrong = what => { throw new Malformed(`${subject}: ${what}`) }
  if (!subject.startsWith(prefix + '.')) wrong('another prefix')
  const parts = subject.slice(prefix.length + 1).split('.')
  const one = name => (headers.values(name).length === 1 ? headers.values(name)[0] : wrong(`not one header ${name}`))
  const number = (name, low, high) => {
    const v = one(name)
    return /^(0|-?[1-9]\d*)$/.test(v) ? integer(BigInt(v), low, high, name) : wrong(name)
  }
  const kind = kindOf[parts[1]] ?? (parts.length === 4 ? 2 : 1)
  const ofStream = kind < 6
  const names = kind < 3 ? parts.slice(1) : parts.slice(2)
  if (names.length !== (kind === 2 ? 3 : ofStream ? 2 : 0)) wrong('a subject of another length')
  if (one('Fieldseal-Kind') !== kinds[kind]) wrong('the kind is another one')
  let [machine = '', level = '', point = ''] = names
  for (const [name, want] of [['Fieldseal-Machine', machine], ['Fieldseal-Level', level]]) if (ofStream && one(name) !== want) wrong(name)
  if (!ofStream) [machine, level] = ['Fieldseal-Machine', 'Fieldseal-Level'].map(name => (headers.values(name).length ? one(name) : ''))
  const token = s => /^[\dA-Za-z-][\w-]{0,255}$/.test(s)
  const ofGateway = machine === '_gateway' && level === '_events' // the only names with an underscore in front
  if (!token(parts[0]) || !ofGateway && ![machine, level].every(s => token(s) || (!ofStream && !s)) || (kind === 2 && !token(point))) wrong('a name')
  if (!/^[!-~]([ -~]{0,254}[!-~])?$/.test(one('Content-Type'))) wrong('Content-Type')
  const id = one('Nats-Msg-Id')
  if (id.slice(0, -32) !== parts[0] + '/' || !/^[0-9a-f]{32}$/.test(id.slice(-32))) wrong('Nats-Msg-Id')
  const epoch = /^(0|[1-9]\d*)-([0-9a-f]{16})-(0|[1-9]\d*)$/.exec(one('Fieldseal-Epoch')) ?? wrong('epoch')
  return {
    gateway: text(parts[0], 256, 'gateway'), machine, level, kind, point,
    epoch: { start: integer(BigInt(epoch[1]), 0n, u64, 'start'), instance: epoch[2], number: integer(BigInt(epoch[3]), 0n, u32, 'number') },
    sequence: number('Fieldseal-Sequence', 0n, u64), contentType: one('Content-Type'),
    time: time64(number('Fieldseal-Time', -(1n << 63n), u64), 'time'), id: Buffer.from(id.slice(-32), 'hex'), body,
  }
}

/** All messages of a JetStream stream under a prefix, from its start; up to its present end, or on and on. */
export async function* fromStream({ nats, stream, prefix, ca, cert, key, end }, foreign) {
  const { connect } = await import('@nats-io/transport-node')
  const { jetstream } = await import('@nats-io/jetstream')
  const pem = file => file && readFileSync(file, 'utf8')
  const nc = await connect({ servers: nats, tls: { ca: pem(ca), cert: pem(cert), key: pem(key) } })
  try {
    const consumer = await jetstream(nc).consumers.get(stream, { filter_subjects: [prefix + '.>'] })
    if (end && (await consumer.info()).num_pending === 0) return
    for await (const m of await consumer.consume()) {
      let message = null
      try { message = fromNATS(prefix, m.subject, m.headers ?? { values: () => [] }, m.data) } catch (e) {
        if (!(e instanceof Malformed)) throw e
        foreign(`no message of fieldseal: ${e.message}`)
      }
      if (message) yield message
      if (end && m.info.pending === 0) return
    }
  } finally { await nc.close() }
}
