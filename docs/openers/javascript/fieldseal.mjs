// A reader of Fieldseal's wire format, written from docs/format.md (section 9).
// It takes messages in any order and gives samples, with what vouches for them.

import { Malformed } from './codec.mjs'
import {
  check, digest, epochName, kinds, openData, parseCheckpoint, parseData, parseKeyFrame, parseLoss, parseStatement, Refusal, refuse, unseal,
} from './frames.mjs'
import { first, Ranges } from './ranges.mjs'

// What a reader keeps at most. What comes beyond is refused as given-up.
const limits = {
  waiting: 50000, waitingBytes: 64 << 20, // messages without a signature or a key
  claims: 64, // different messages under one number
  digests: 1 << 20, // signed ones, to tell repeats from forgeries
  streams: 10000, epochs: 100000, forgeries: 1000,
}

const earlier = (a, b) => a.start < b.start || (a.start === b.start && a.number < b.number)
/** A frame that waits for a key, whether or not its key frame is here. */
const sealed = c => c.frame && !c.content && !c.unopened
const byNumber = (a, b) => (a.n < b.n ? -1 : 1)

/** A frame that nobody could try to open yet. */
const locked = c => sealed(c) && !c.epoch.keyFrame

export class Reader {
  /**
   * trust: Map of gateway → keys (keys.mjs), or null: nothing is verified.
   * identities: what parseIdentity gave. now: deliver before the signature is
   * there. trimmed: the source keeps the newest messages only. clock: gives
   * Unix nanoseconds.
   */
  constructor({ trust = null, identities = [], now = false, trimmed = false, clock = () => BigInt(Date.now()) * 1000000n } = {}) {
    Object.assign(this, { trust, identities, now, trimmed, clock })
    this.streams = new Map()
    this.gateways = new Map()
    this.classes = new Set() // of all refusals
    this.waiting = this.waitingBytes = this.digests = 0
  }

  /** Takes one message, after the one before: { refusal, deliveries }. */
  async read(m) {
    this.out = []
    let refusal = null
    try {
      await this.take(m)
    } catch (e) {
      refusal = e instanceof Malformed ? new Refusal('malformed', e.message) : e
      if (!(refusal instanceof Refusal)) throw e
      this.classes.add(refusal.class)
    }
    return { refusal, deliveries: this.out }
  }

  async take(m) {
    check(m)
    if (this.trust && !this.trust.has(m.gateway)) refuse('unknown-gateway', 'no key is trusted for it')
    const kind = kinds[m.kind]
    if (kind === 'statement') return this.statement(m, parseStatement(m, this.trust))
    const c = { n: m.sequence, m, kind, digest: digest(m), content: null, frame: null, unopened: false, key: false, shown: false, held: false }
    let checkpoint, loss, keyFrame
    switch (kind) {
      case 'data': Object.assign(c, parseData(m)); break
      case 'key-frame': keyFrame = parseKeyFrame(m, this.trust); break
      case 'checkpoint': checkpoint = parseCheckpoint(m, this.trust); break
      case 'loss-record': loss = parseLoss(m, this.trust); break
      default: c.content = { payload: m.body }
    }
    const s = this.stream(m), e = c.epoch = this.epoch(s, m.epoch)
    if (e.refused) refuse(e.refused, 'its epoch was refused')
    if (this.repeated(s, c)) return void s.duplicates++
    if (this.trust) {
      if (checkpoint) return this.checkpoint(s, e, checkpoint, this.admit(s, e, c.n, checkpoint.first, c.n))
      if (!keyFrame) this.claim(s, c)
    }
    const prove = this.trust && keyFrame ? this.admit(s, e, c.n, c.n, c.n) : () => {}
    if (keyFrame && e.keyFrame && !e.keyFrame.equals(m.body)) {
      const cls = this.trust ? 'clone' : 'forged'
      this.forgery(s, c.n, cls)
      refuse(cls, 'its epoch has another key frame')
    }
    if (this.trust && keyFrame) this.claim(s, c)
    c.key = !!keyFrame
    if (c.frame && e.key) c.content = openData(m, c.frame, e.key)
    c.unopened = !!(c.frame && !c.content && (e.keyFrame || !this.identities.length))
    const signed = this.trust && signedDigest(s, c.n)
    const proof = !this.trust ? 'unverified' : signed ? 'signed' : null
    if (!proof && s.waiting.get(c.n)?.length >= limits.claims) this.forged(s, c.n, 'too many messages claim this number')
    if (!proof || (locked(c) && this.identities.length)) this.hold(c)
    prove()
    this.streams.set(s.key, s)
    s.epochs.set(e.name, e)
    if (loss) lose(s, loss)
    if (proof) this.settle(s, c, proof)
    else {
      s.waiting.set(c.n, [...(s.waiting.get(c.n) ?? []), c])
      this.show(s, c)
    }
    if (keyFrame && !e.keyFrame) await this.keyFrame(s, e, m, keyFrame)
  }

  stream(m) {
    const key = JSON.stringify([m.gateway, m.machine, m.level])
    if (!this.streams.has(key) && this.streams.size >= limits.streams) refuse('given-up', 'too many streams')
    return this.streams.get(key) ?? {
      key, gateway: m.gateway, machine: m.machine, level: m.level,
      epochs: new Map(), came: new Ranges(), lost: new Ranges(), losses: [],
      checkpoints: [], // in order
      forgotten: 0n, // digests up to this number are gone
      waiting: new Map(), // number → messages without a signature
      seen: new Map(), // number → digest, where nothing is verified
      first: null, forgeries: [], duplicates: 0, unopened: 0,
    }
  }

  epoch(s, id) {
    const name = epochName(id)
    if (!s.epochs.has(name) && s.epochs.size >= limits.epochs) refuse('given-up', 'too many epochs')
    return s.epochs.get(name) ?? {
      name, id, refused: null, low: null, high: null, // the numbers that signatures prove
      closed: null, keyFrame: null, key: null, locked: [], digests: new Set(), came: new Ranges(),
    }
  }

  forgery(s, sequence, cls) {
    if (s.forgeries.length < limits.forgeries) s.forgeries.push({ sequence, class: cls })
  }

  forged(s, n, reason) {
    this.forgery(s, n, 'forged')
    refuse('forged', reason)
  }

  /** Whether this very message came before. */
  repeated(s, c) {
    if ((s.waiting.get(c.n) ?? []).some(x => x.digest === c.digest)) return true
    if (!this.trust) {
      const known = s.seen.get(seat(c))
      if (known && known !== c.digest) this.forged(s, c.n, 'another message has this number, and nothing tells which is right')
      return c.epoch.came.has(c.n) || waitsForKey(c)
    }
    if (waitsForKey(c)) return true
    if (c.n <= s.forgotten) return s.came.has(c.n) || refuse('given-up', 'what was signed under this number is forgotten')
    return s.came.has(c.n) && signedDigest(s, c.n) === c.digest
  }

  /** Refuses what cannot be what the gateway sent under this number. */
  claim(s, c) {
    const signed = signedDigest(s, c.n)
    if (signed && signed !== c.digest) this.forged(s, c.n, 'another message has this number')
    if (signed) return
    if (c.epoch.closed !== null && c.n > c.epoch.closed) this.forged(s, c.n, 'its epoch was closed before')
  }

  /** A signature says that numbers a to b are of epoch e: what remembers it, where that can be. */
  admit(s, e, n, a, b) {
    const low = e.low === null || a < e.low ? a : e.low, high = e.high === null || b > e.high ? b : e.high
    const { starts } = this.gateway(s.gateway) // start counter → instance
    let cls = null
    if ((starts.get(e.id.start) ?? e.id.instance) !== e.id.instance) cls = 'clone'
    for (const x of s.epochs.values()) {
      if (!cls && x !== e && x.low !== null && (earlier(x.id, e.id) ? x.high >= low : x.low <= high)) cls = 'rollback'
    }
    if (!cls) {
      return () => {
        starts.set(e.id.start, e.id.instance)
        Object.assign(e, { low, high })
      }
    }
    if (e.low === null) { // nothing of this epoch counts
      e.refused = cls
      for (const x of all(s, e).sort(byNumber)) {
        this.drop(s, x)
        this.forgery(s, x.n, cls)
      }
    }
    this.streams.set(s.key, s)
    s.epochs.set(e.name, e)
    this.forgery(s, n, cls)
    return refuse(cls, cls === 'clone' ? 'another instance has this start counter' : 'the numbering went back')
  }

  // Waiting for a signature or a key.

  hold(c) {
    if (this.waiting >= limits.waiting || this.waitingBytes + c.m.body.length > limits.waitingBytes) refuse('given-up', 'too much is waiting')
    this.waiting++
    this.waitingBytes += c.m.body.length
    c.held = true
  }

  release(c) {
    if (!c.held) return
    this.waiting--
    this.waitingBytes -= c.m.body.length
    c.held = false
  }

  /** Takes a message from those that wait for a signature. */
  drop(s, c) {
    const rest = s.waiting.get(c.n).filter(x => x !== c)
    if (rest.length) s.waiting.set(c.n, rest)
    else s.waiting.delete(c.n)
    this.release(c)
  }

  /** With now: the first message under a number of an epoch, as pending. Catalogues wait. */
  show(s, c) {
    if (!this.now || c.shown || s.waiting.get(c.n).find(x => x.epoch === c.epoch) !== c || (locked(c) && this.identities.length) ||
      (c.content && 'catalogue' in c.content)) return
    c.shown = this.deliver(s, c, 'pending')
  }

  /** A message that needs no other word: out with it, or to those without a key. */
  settle(s, c, proof) {
    if (locked(c) && this.identities.length && !c.shown) {
      if (!c.held) this.hold(c)
      c.epoch.locked.push({ n: c.n, c, proof })
      c.epoch.digests.add(c.digest)
      return
    }
    this.release(c)
    if (proof === 'unverified') see(s, c)
    begin(s, c)
    if (!c.shown) this.deliver(s, c, proof)
  }

  deliver(s, c, proof) {
    if (!c.content && !c.frame) return false // it speaks of the stream only
    const { m } = c, unopened = !c.content
    if (unopened) s.unopened++
    this.out.push({
      gateway: m.gateway, machine: m.machine, level: m.level, epoch: m.epoch, sequence: m.sequence, kind: c.kind, point: m.point,
      contentType: m.contentType, time: m.time, proof, sealed: !!c.frame, unopened,
      base: '', samples: [], catalogue: [], payload: null, ...c.content,
    })
    return true
  }

  /** The first key frame of an epoch: what waited for it is opened. */
  async keyFrame(s, e, m, frame) {
    e.keyFrame = Buffer.from(m.body)
    let refusal = null
    if (this.identities.length) {
      try {
        e.key = await unseal(frame, this.identities)
      } catch (err) {
        if (!(err instanceof Refusal)) throw err
        refusal = err
      }
    }
    const opens = c => {
      try {
        if (e.key) c.content = openData(c.m, c.frame, e.key)
        else c.unopened = true
        return true
      } catch (err) {
        this.forgery(s, c.n, err.class)
        return false
      }
    }
    e.digests.clear()
    const claims = all(s, e).filter(sealed).map(c => ({ n: c.n, c, proof: null }))
    for (const { n, c, proof } of [...e.locked.splice(0), ...claims].sort(byNumber)) {
      const good = opens(c)
      if (!proof) {
        if (good) this.show(s, c)
        else this.drop(s, c)
        continue
      }
      this.release(c)
      if (!good) continue
      if (!this.trust) {
        if (e.came.has(n)) {
          this.forgery(s, n, 'forged')
          continue
        }
        see(s, c)
      }
      begin(s, c)
      this.deliver(s, c, proof)
    }
    if (refusal) throw refusal
  }

  checkpoint(s, e, p, prove) {
    const at = first(s.checkpoints, x => x.sequence >= p.sequence)
    const next = s.checkpoints[at], last = s.checkpoints[at - 1]
    const fits = (!next || (next.first > p.sequence && (next.first > p.sequence + 1n || next.previous === p.hash))) &&
      (!last || (last.sequence < p.first && (last.sequence < p.first - 1n || p.previous === last.hash))) &&
      (p.first > 1n || /^0+$/.test(p.previous))
    if (!fits) {
      this.forgery(s, p.sequence, 'clone')
      refuse('clone', 'it does not continue the checkpoints beside it, or is a second one')
    }
    prove()
    this.streams.set(s.key, s)
    s.epochs.set(e.name, e)
    s.checkpoints.splice(at, 0, p)
    s.came.add(p.sequence)
    if (p.closing) e.closed = p.sequence
    for (let n = p.first; n <= p.sequence; n++) {
      const wanted = signedDigest(s, n), claims = s.waiting.get(n) ?? []
      const right = claims.find(c => c.digest === wanted)
      for (const c of claims) {
        if (c.digest === wanted) {
          s.waiting.delete(n)
          this.settle(s, c, 'signed')
        } else {
          this.release(c)
          this.forgery(s, n, 'forged')
          if (c.key && !right?.key) unkey(c.epoch)
        }
      }
      s.waiting.delete(n)
    }
    if (p.closing) {
      for (const c of all(s, e).filter(x => x.n > p.sequence).sort(byNumber)) {
        this.drop(s, c)
        this.forgery(s, c.n, 'forged')
        if (c.key) unkey(c.epoch)
      }
    }
    this.digests += p.digests.length / 16 + 1
    while (this.digests > limits.digests && s.checkpoints.length > 1) {
      const old = s.checkpoints.shift()
      s.forgotten = old.sequence
      this.digests -= old.digests.length / 16 + 1
    }
  }

  gateway(name) {
    if (!this.gateways.has(name)) {
      if (this.gateways.size >= limits.streams) refuse('given-up', 'too many gateways')
      this.gateways.set(name, { starts: new Map(), newest: null, heads: new Map() })
    }
    return this.gateways.get(name)
  }

  statement(m, st) {
    const g = this.gateway(m.gateway), same = (a, b) => a.start === b.start && a.sequence === b.sequence
    if (g.newest && same(st, g.newest) && st.content !== g.newest.content) refuse('clone', 'the gateway made two statements under one number')
    const starts = new Map(g.starts)
    for (const x of [st, ...st.heads]) {
      if ((starts.get(x.start) ?? x.instance) !== x.instance) refuse('clone', 'another instance has this start counter')
      starts.set(x.start, x.instance)
    }
    const later = (a, b) => a.start > b.start || (a.start === b.start && a.sequence > b.sequence)
    const name = h => JSON.stringify([m.gateway, h.machine, h.level])
    for (const h of st.heads) {
      const known = g.heads.get(name(h))
      if (!known) continue
      const differ = earlier(known, h) || earlier(h, known) || h.sequence !== known.sequence
      if (same(st, known.of) && differ) refuse('clone', 'the gateway made two statements under one number')
      const [a, b] = later(st, known.of) ? [known, h] : [h, known]
      if (earlier(b, a) || b.sequence < a.sequence) refuse('rollback', 'a stream was further in an earlier statement')
    }
    g.starts = starts
    for (const h of st.heads) {
      if ((this.trust || this.streams.has(name(h))) && later(st, g.heads.get(name(h))?.of ?? { start: -1n })) g.heads.set(name(h), h)
    }
    if (!g.newest || later(st, g.newest)) g.newest = { ...st, came: this.clock() }
  }

  /** The account of all streams and gateways so far. */
  report() {
    const verdicts = new Set(this.classes)
    const streams = new Map(this.streams)
    for (const [gateway, g] of this.gateways) {
      for (const [key, h] of g.heads) if (!streams.has(key)) streams.set(key, this.stream({ gateway, machine: h.machine, level: h.level }))
    }
    const order = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))
    const out = [...streams.values()].map(s => this.streamReport(s, verdicts))
      .sort((a, b) => order(a.gateway, b.gateway) || order(a.machine, b.machine) || order(a.level, b.level))
    const gateways = [...this.gateways].filter(([, g]) => g.newest).map(([gateway, { newest: n }]) => {
      const now = this.clock(), patience = 3n * n.interval * 1000000n
      const silent = now - n.came > patience || (n.clock !== 0 && now - n.time > patience)
      if (silent) verdicts.add('silent')
      return {
        gateway, statement: n.sequence, time: n.time, clock: ['unknown', 'plausible', 'synchronised'][n.clock], policy: n.policy,
        audit_size: n.auditSize, audit_head: n.auditHead, interval_ms: n.interval, proof: this.trust ? 'signed' : 'unverified', silent,
      }
    })
    return { verdicts: [...verdicts].sort(), streams: out, gateways }
  }

  streamReport(s, verdicts) {
    const waiting = all(s), have = new Ranges()
    for (const [a, b] of [...s.came.list, ...s.lost.list]) have.add(a, b)
    let highest = s.came.last, start = null // of what only waits
    for (const c of waiting) {
      have.add(c.n)
      if (c.n > highest) highest = c.n
      if ((c.content || c.frame) && (start === null || c.n < start)) start = c.n
    }
    for (const { n } of [...s.epochs.values()].flatMap(e => e.locked)) {
      have.add(n)
      if (n > highest) highest = n
      if (start === null || n < start) start = n
    }
    let gaps = have.missing(1n, highest), trimmed = 0n
    start = s.first ?? start ?? highest + 1n
    if (this.trimmed && gaps.length && gaps[0][0] < start) {
      trimmed = start - 1n
      gaps = have.missing(start, highest)
    }
    const stated = this.gateways.get(s.gateway)?.heads.get(s.key)?.sequence ?? 0n
    let withoutKey = waiting.filter(locked).length
    for (const e of s.epochs.values()) withoutKey += e.locked.length
    const r = {
      gateway: s.gateway, machine: s.machine, level: s.level, highest, signed_through: s.checkpoints.at(-1)?.sequence ?? 0n, trimmed, gaps,
      withheld: stated > highest ? [[highest + 1n, stated]] : [], stated, losses: s.losses, forgeries: s.forgeries,
      pending: waiting.filter(c => c.content || c.frame).length, no_key_frame: this.identities.length ? withoutKey : 0,
      unopened: s.unopened, duplicates: s.duplicates,
    }
    const words = {
      gap: gaps.length, withheld: r.withheld.length, loss: r.losses.length, trimmed, pending: r.pending,
      'no-key-frame': r.no_key_frame, unopened: r.unopened, duplicate: r.duplicates,
    }
    for (const [word, n] of Object.entries(words)) if (n) verdicts.add(word)
    for (const f of r.forgeries) verdicts.add(f.class)
    return r
  }
}

/** The messages that wait for a signature, of one epoch or all. */
const all = (s, e) => [...s.waiting.values()].flat().filter(c => !e || c.epoch === e)

/** The digest that a checkpoint lists for this number, or null. */
function signedDigest(s, n) {
  const p = s.checkpoints[first(s.checkpoints, x => x.sequence >= n)]
  if (!p || p.first > n) return null
  if (p.sequence === n) return p.own
  const i = Number(n - p.first) * 16
  return p.digests.toString('hex', i, i + 16)
}

/** Records that continue each other are one loss. */
function lose(s, loss) {
  const all = { ...loss }
  s.lost.add(all.first, all.last)
  s.losses = s.losses.filter(x => {
    if (epochName(x.epoch) !== epochName(all.epoch) || x.reason !== all.reason || all.first > x.last + 1n || x.first > all.last + 1n) return true
    if (x.first < all.first) all.first = x.first
    if (x.last > all.last) all.last = x.last
    if (x.time > all.time) all.time = x.time
    return false
  })
  const behind = x => x.first > all.first || (x.first === all.first && (earlier(all.epoch, x.epoch) ||
    (!earlier(x.epoch, all.epoch) && Buffer.compare(Buffer.from(x.reason), Buffer.from(all.reason)) > 0)))
  s.losses.splice(s.losses.filter(x => !behind(x)).length, 0, all)
}

/** A number is settled; the first of them with samples or a payload is kept apart. */
function begin(s, c) {
  s.came.add(c.n)
  c.epoch.came.add(c.n)
  if ((c.content || c.frame) && (s.first === null || c.n < s.first)) s.first = c.n
}

/** A number of an epoch: where nothing is verified, anybody may name an epoch. */
const seat = c => `${c.epoch.name}/${c.n}`

const waitsForKey = c => c.epoch.digests.has(c.digest)

/** Where nothing is verified, the first message under a number of an epoch is the one. */
function see(s, c) {
  s.seen.set(seat(c), c.digest)
  if (s.seen.size > limits.digests) s.seen.delete(s.seen.keys().next().value)
}

/** A key frame that was refused leaves no key: the right one may come still, or again. */
function unkey(e) {
  e.keyFrame = e.key = null
}
