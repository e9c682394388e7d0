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
    let rest = Buffer.alloc(0), done = false
    for await (const chunk of input) {
      rest = Buffer.concat([rest, chunk])
      const part = items(rest)
      for (const { item, spoiled } of part.found) {
        if (spoiled) damaged(`${path}: an item was spoiled on the way`)
        else if (Array.isArray(item) && item.length === 3) {
          if (item[0] !== 'fieldseal segment 1') damaged(`${path}: no segment of this version`)
        } else {
          try { yield fromArray(item) } catch (e) {
            if (!(e instanceof Malformed)) throw e
            damaged(`${path}: ${e.message}`)
          }
        }
      }
      rest = rest.subarray(part.used)
      if (part.lost || rest.length > 2 * maxItem) {
        damaged(`${path}: it cannot be read further`)
        done = true
        break
      }
    }
    if (!done && rest.length) damaged(`${path}: it ends in the middle of an item`)
  }
}

/** The whole items in b, each with its CRC. */
function items(b) {
  const found = []
  let used = 0
  while (used < b.length) {
    const d = new Decoder(b.subarray(used))
    try {
      const item = d.item(), size = d.at
      const crc = Buffer.from(bytes(d.item(), 4, 'CRC')).readUInt32BE()
      found.push({ item, spoiled: crc !== crc32c(b.subarray(used, used + size)) })
      used += d.at
    } catch (e) {
      if (!(e instanceof Malformed)) throw e
      return { found, used, lost: !d.cut }
    }
  }
  return { found, used, lost: false }
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
  if (kind === 7) [machine, level] = ['Fieldseal-Machine', 'Fieldseal-Level'].map(name => headers.get(name))
  const epoch = /^(\d+)-([0-9a-f]{16})-(\d+)$/.exec(one('Fieldseal-Epoch')) ?? wrong('epoch')
  return {
    gateway: text(parts[0], 256, 'gateway'), machine, level, kind, point,
    epoch: { start: integer(BigInt(epoch[1]), 0n, u64, 'start'), instance: epoch[2], number: integer(BigInt(epoch[3]), 0n, u32, 'number') },
    sequence: number('Fieldseal-Sequence', 0n, u64), contentType: one('Content-Type'),
    time: time64(number('Fieldseal-Time', -(1n << 63n), u64), 'time'), id: one('Nats-Msg-Id'), body,
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
