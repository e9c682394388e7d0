// Runs every test vector: node vectors.mjs [FOLDER]
// One line for each; what cannot be opened is listed by name and counted. The
// exit code is 1 where an answer is wrong.

import { readdirSync, readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { Reader } from './fieldseal.mjs'
import { kinds } from './frames.mjs'
import { algorithms, gatewayKey, parseIdentity } from './keys.mjs'

const folder = process.argv[2] ?? new URL('../../../bridge/envelope/testdata/vectors', import.meta.url).pathname

const message = m => ({
  ...m, kind: kinds.indexOf(m.kind), contentType: m.content_type, body: Buffer.from(m.body, 'base64'),
  sequence: BigInt(m.sequence), time: BigInt(m.time),
  epoch: { start: BigInt(m.epoch.start), instance: m.epoch.instance, number: BigInt(m.epoch.number) },
})

// In the notation of the vectors.
const epoch = e => ({ start: Number(e.start), instance: e.instance, number: Number(e.number) })
const range = r => r.map(Number)

function value({ kind, value: v }) {
  if (kind === 'bytes') return Buffer.from(v).toString('base64')
  return typeof v === 'bigint' || (kind === 'float' && !Number.isFinite(v)) ? String(v) : v
}

const delivery = d => ({
  machine: d.machine, level: d.level, epoch: epoch(d.epoch), sequence: Number(d.sequence), kind: d.kind, point: d.point,
  content_type: d.contentType, time: String(d.time), proof: d.proof, sealed: d.sealed, unopened: d.unopened, base: d.base,
  samples: d.samples.map(s => ({ ...s, time: String(s.time), value: value(s) })),
  catalogue: d.catalogue.map(e => ({ ...e, texts: Object.fromEntries(e.texts), tags: Object.fromEntries(e.tags) })),
  payload: d.payload && Buffer.from(d.payload).toString('base64'),
})

const stream = ({ gateway, ...s }) => ({
  ...s, highest: Number(s.highest), signed_through: Number(s.signed_through), trimmed: Number(s.trimmed),
  stated: Number(s.stated), gaps: s.gaps.map(range), withheld: s.withheld.map(range),
  forgeries: s.forgeries.map(f => ({ ...f, sequence: Number(f.sequence) })),
  losses: s.losses.map(l => ({ epoch: epoch(l.epoch), first: Number(l.first), last: Number(l.last), reason: l.reason, time: String(l.time) })),
})

const statement = g => ({
  ...g, statement: Number(g.statement), time: String(g.time), audit_size: Number(g.audit_size), interval_ms: Number(g.interval_ms),
})

/** What is wrong with the answer to one vector. */
async function run(v) {
  const key = k => gatewayKey(Buffer.from(k.public, 'hex'), k.until && BigInt(k.until))
  const trust = v.trust && new Map(v.trust.gateways.map(g => [g.name, g.keys.map(key)]))
  const identities = v.identities.map(i => parseIdentity(i.file))
  const { now, trimmed, clock } = v.reader
  const reader = new Reader({ trust, identities, now, trimmed, clock: () => BigInt(clock) })
  const wrong = [], deliveries = []
  const same = (what, got, want) => {
    if (!isDeepStrictEqual(got, want)) wrong.push(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(want)}`)
  }
  same('kid', identities.map(i => i.kid), v.identities.map(i => i.kid))
  for (const [i, m] of v.messages.entries()) {
    const { refusal, deliveries: out } = await reader.read(message(m))
    same(`message ${i + 1} refused`, refusal?.class ?? null, m.refused)
    same(`message ${i + 1} delivers`, out.map(d => Number(d.sequence)), m.delivers)
    deliveries.push(...out.map(delivery))
  }
  const report = reader.report()
  same('deliveries', deliveries, v.expect.deliveries)
  same('verdicts', report.verdicts, v.expect.verdicts)
  same('streams', report.streams.map(stream), v.expect.streams)
  same('gateways', report.gateways.map(statement), v.expect.gateways)
  return wrong
}

const count = { valid: 0, faulty: 0, unsupported: 0, wrong: 0 }
for (const file of readdirSync(folder).filter(f => f.endsWith('.json')).sort()) {
  const v = JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'))
  const alien = v.identities.find(i => !algorithms.has(i.alg))
  if (alien) {
    count.unsupported++
    console.log(`unsupported  ${v.name}: algorithm ${alien.alg}`)
    continue
  }
  let wrong
  try { wrong = await run(v) } catch (err) { wrong = [err.stack] }
  if (wrong.length) count.wrong++
  else if (v.fault) count.faulty++
  else count.valid++
  const answer = v.expect.verdicts.join(' ') || 'in order'
  console.log(wrong.length ? `WRONG        ${v.name}: ${wrong.join('; ')}` : `${v.fault ? 'right class' : 'opened     '}  ${v.name}: ${answer}`)
}
const { valid, faulty, unsupported, wrong } = count
console.log(`javascript: ${valid} valid opened, ${faulty} faulty with the right class, ${unsupported} unsupported, ${wrong} wrong`)
process.exitCode = wrong || !valid || !faulty ? 1 : 0
