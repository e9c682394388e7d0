// Opens what is meant for you, as JSON lines:
//
//   node open.mjs -i me.identity --trust-key hall-2=ed25519:… segments/
//   node open.mjs -i me.identity --trust-key hall-2=ed25519:… --nats tls://hub:4222 \
//     --stream PLANT --prefix plant.augsburg --ca ca.pem --cert me.pem --key me.key
//
// The exit code is 0 where everything is in order, 1 where it is not or nothing
// was verified, 2 where it could not look.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { rfc3339 } from './codec.mjs'
import { Reader } from './fieldseal.mjs'
import { addTrust, parseIdentity } from './keys.mjs'
import { fromFiles, fromStream } from './sources.mjs'

const options = {
  identity: { type: 'string', short: 'i', multiple: true, default: [] },
  'trust-key': { type: 'string', multiple: true, default: [] }, // GATEWAY=ed25519:…[,until=YYYY-MM-DD]
  nats: { type: 'string' }, stream: { type: 'string' }, prefix: { type: 'string' },
  ca: { type: 'string' }, cert: { type: 'string' }, key: { type: 'string' },
  end: { type: 'boolean', default: false }, // stop at the present end of the stream
  now: { type: 'boolean', default: false }, // do not wait for signatures
  report: { type: 'boolean', default: false }, // at the end a line on gaps, losses and forgeries
}

/** JSON with integers of any size. */
function json(x) {
  if (typeof x === 'bigint') return String(x)
  if (x === null || typeof x !== 'object') return JSON.stringify(x)
  if (Array.isArray(x)) return `[${x.map(json).join(',')}]`
  const fields = []
  for (const k in x) if (x[k] !== undefined) fields.push(`"${k}":${json(x[k])}`)
  return `{${fields.join(',')}}`
}

function value({ kind, value: v }) {
  switch (kind) {
    case 'none': return undefined
    case 'float': return Number.isFinite(v) ? v : String(v)
    case 'bytes': return Buffer.from(v).toString('base64')
    case 'time': return rfc3339(v)
    default: return v
  }
}

/** What catalogues say: gateway, machine, level, and name or hidden name → entry. */
const known = new Map()

/** The lines of one delivery. A catalogue has none: what it says stands in those of its points. */
function* lines(d) {
  const { gateway, machine, level, sealed, sequence, proof } = d
  const at = name => JSON.stringify([gateway, machine, level, name])
  for (const e of d.catalogue) for (const name of [e.name, e.id]) if (name) known.set(at(name), e)
  const about = name => known.get(at(name)) ?? { name, unit: '', texts: new Map() }
  if (d.kind === 'passthrough') {
    const e = about(d.point)
    yield {
      time: rfc3339(d.time), gateway, machine, point: e.name, level, unit: e.unit || undefined,
      payload: Buffer.from(d.payload).toString('base64'), content_type: d.contentType, sealed, sequence, proof,
    }
  }
  for (const s of d.samples) {
    const quality = s.quality ? '0x' + s.quality.toString(16).toUpperCase().padStart(8, '0') : undefined
    const e = about(s.name), means = ['int', 'uint'].includes(s.kind) ? e.texts.get(BigInt(s.value)) : undefined
    yield {
      time: rfc3339(s.time), gateway, machine, point: s.name, level, value: value(s), unit: s.unit || e.unit || undefined,
      text: means || undefined, quality, sealed, sequence, proof,
    }
  }
}

const harmless = new Set(['wrong-recipient', 'unopened', 'duplicate', 'pending', 'loss', 'trimmed'])

async function main() {
  const { values: o, positionals: files } = parseArgs({ options, allowPositionals: true })
  const trust = new Map()
  for (const line of o['trust-key']) addTrust(trust, line)
  const identities = o.identity.map(f => parseIdentity(readFileSync(f, 'utf8')))
  const reader = new Reader({ trust: trust.size ? trust : null, identities, now: o.now })
  let foreign = 0
  const say = text => { foreign++; console.error(text) }
  if (o.nats ? !o.stream || !o.prefix || files.length : !files.length) {
    throw new Error('name files, or a server with --nats, --stream and --prefix')
  }
  for await (const m of o.nats ? fromStream(o, say) : fromFiles(files, say)) {
    const { refusal, deliveries } = await reader.read(m)
    if (refusal && !harmless.has(refusal.class)) {
      console.error(`refused: message ${m.sequence} of ${m.gateway}/${m.machine}/${m.level}: ${refusal.message}`)
    }
    const out = deliveries.flatMap(d => [...lines(d)]).map(l => json(l) + '\n').join('')
    if (out && !process.stdout.write(out)) await new Promise(done => process.stdout.once('drain', done))
  }
  const report = reader.report()
  if (o.report) process.stdout.write(json({ report }) + '\n')
  const bad = report.verdicts.filter(v => !harmless.has(v)), told = report.verdicts.filter(v => harmless.has(v))
  if (told.length) console.error(`of note: ${told.join(', ')} (see --report)`)
  if (bad.length) console.error(`not in order: ${bad.join(', ')}`)
  if (!trust.size) console.error('nothing was verified: give each gateway\'s key with --trust-key')
  if (!report.streams.length) console.error('nothing came that a gateway sent: look at the files, or at --prefix')
  process.exitCode = bad.length || foreign || !trust.size || !report.streams.length ? 1 : 0
}

main().catch(err => {
  console.error(err.message)
  process.exitCode = 2
})
