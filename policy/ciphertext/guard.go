package ciphertext

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"time"
)

// Config says what a point's payloads should be.
type Config struct {
	Format string
	// DeviceKey is the device's public key (Ed25519 or P-256, see [ParseKey]).
	// Where it is given, each payload must be a COSE_Sign1 that verifies with
	// it. nil: signatures are not verified, and not asked for.
	DeviceKey crypto.PublicKey
	// KeyIDs lists the names of keys that the device may encrypt for, as COSE
	// and JWE have them (kid). nil: any, but see [Guard].
	KeyIDs [][]byte
}

var (
	errKeyFormat   = errors.New("only COSE payloads carry a device's signature")
	errKeyIDFormat = errors.New("only COSE and JWE payloads name their key")
	errKeyID       = errors.New("it is encrypted with a key that is not listed for the device")
)

// Guard judges the payloads of one point. It is not safe for concurrent use.
//
// A payload is passed if its structure is that of the declared format, its
// ciphertext looks random, alone and among those before it, and the source is
// trusted. A source whose payloads do not prove themselves (no structure, or
// less than 64 bytes of ciphertext) is trusted once 16 of them in a row were
// good, and no longer after a bad one. Three bad ones in 16 raise the alarm:
// then nothing passes until 16 in a row were good.
//
// What should be alike in all messages of a device, such as the name of the
// key, must be: a header that was not seen before is trusted with the third
// payload that bears it.
type Guard struct {
	config  Config
	good    int    // payloads in a row, up to probation
	recent  uint16 // failures among the last 16 judged; the newest is bit 0
	alarm   bool
	since   time.Time // of the alarm
	judged  uint64
	refused uint64
	said    bool // of the newest payload, that it was refused

	headers []uint64 // that are trusted, the newest last
	header  uint64   // that is not trusted yet
	bearing int      // payloads that bore it, in a row

	parts  parts
	past   past
	nonces nonces
	newest [16]byte // its digest
	last   Verdict  // on it, without the events
}

// Verdict says what becomes of one payload.
type Verdict struct {
	Pass bool // forward it byte for byte; otherwise seal it or hold it back
	// Probation: it is not passed only because its source, or its header, is
	// not trusted yet. Nothing is wrong with it.
	Probation bool
	Repeat    bool   // it is the payload of the time before, and nothing was judged anew
	Reason    string // why it is not passed; holds nothing of the payload
	Events    []Event
}

// Event is something that somebody should know. Its text holds nothing of the
// payload.
type Event struct {
	Name string
	Text string
}

// Names of events.
const (
	EventNotCiphertext = "passthrough-not-ciphertext" // a payload failed, the first of a run
	EventAlarm         = "passthrough-alarm"          // three of 16 failed: nothing passes
	EventNonce         = "passthrough-nonce-reused"   // an IV came twice under one key, or went backwards
	EventHeader        = "passthrough-header-changed" // a new header is trusted from now on
	EventTrusted       = "passthrough-trusted"        // probation is over
)

// NewGuard makes the guard of a source that was never seen before.
func NewGuard(c Config) (*Guard, error) {
	switch {
	case !slices.Contains(Formats(), c.Format):
		return nil, errFormat
	case c.DeviceKey != nil && !isDeviceKey(c.DeviceKey):
		return nil, errKey
	case c.DeviceKey != nil && c.Format != COSE:
		return nil, errKeyFormat
	case len(c.KeyIDs) > 0 && c.Format != COSE && c.Format != JWE:
		return nil, errKeyIDFormat
	}
	return &Guard{config: c}, nil
}

// Judge judges the next payload, which is not kept beyond the history of 16.
func (g *Guard) Judge(payload []byte, now time.Time) Verdict {
	digest := shortDigest(payload)
	if digest == g.newest {
		v := g.last
		v.Repeat = true
		return v
	}
	g.newest = digest
	g.judged++
	soft, err := g.look(payload)
	if err == nil {
		err = g.config.verify(&g.parts)
	}
	// What fails by itself stays out of the history: there it would throw
	// suspicion on the ciphertext that follows.
	if err == nil {
		if g.past.holds(digest) {
			err = errCameBack
		} else {
			err = g.past.add(digest, &g.parts)
		}
	}
	var events []Event
	if e := g.nonces.add(&g.parts); e != nil && err == nil {
		err = e
		events = append(events, Event{EventNonce, e.Error()})
	}
	v := g.decide(err, soft, now)
	g.last = v
	v.Events = append(events, v.Events...)
	g.last.Events = nil
	return v
}

// look judges the payload alone.
func (g *Guard) look(payload []byte) (soft bool, err error) {
	if err := g.parts.parse(g.config.Format, payload); err != nil {
		g.parts.iv = nil
		return false, err
	}
	return g.parts.judge()
}

// verify checks what the configuration knows of the device.
func (c *Config) verify(p *parts) error {
	if len(c.KeyIDs) > 0 && !slices.ContainsFunc(c.KeyIDs, func(id []byte) bool { return string(id) == string(p.kid) }) {
		return errKeyID
	}
	if c.DeviceKey != nil {
		return p.sign.verify(c.DeviceKey)
	}
	return nil
}

// decide turns what was found into a verdict and into what the guard thinks of
// the source.
func (g *Guard) decide(err error, soft bool, now time.Time) (v Verdict) {
	alone := g.config.Format != Opaque && len(g.parts.body) >= leastAlone
	trusted, restless := false, false
	if err == nil {
		trusted, restless = g.trustsHeader(&v)
	}
	g.recent <<= 1
	if err != nil || soft || restless {
		g.recent |= 1
	}
	failing := bits.OnesCount16(g.recent) >= alarmFailures
	if err != nil {
		g.good = 0
		g.refused++
		v.Reason = err.Error()
		if !g.said && !g.alarm {
			v.Events = append(v.Events, Event{EventNotCiphertext, v.Reason})
		}
	} else if g.good < probation {
		g.good++
		switch {
		case g.good < probation:
		case failing: // of those that count only together, too many
			g.good = 0
		case g.alarm || !alone:
			g.alarm = false
			v.Events = append(v.Events, Event{EventTrusted, "16 payloads in a row were good"})
		}
	}
	g.said = err != nil
	if failing && !g.alarm {
		g.alarm, g.since, g.good = true, now, 0
		v.Events = append(v.Events, Event{EventAlarm, "three of the last 16 payloads were not what they claim to be; none passes until 16 in a row are good"})
	}
	switch {
	case err != nil:
	case g.alarm:
		v.Reason = "the source raised an alarm, and has not shown 16 good payloads in a row since"
	case !alone && g.good < probation:
		v.Probation = true
		v.Reason = "its source is on probation: 16 good payloads in a row are needed"
	case !trusted:
		v.Probation = true
		v.Reason = "its header is new: three payloads with it are needed"
	default:
		v.Pass = true
	}
	return v
}

// trustsHeader tells whether the payload's header is one that the device is
// known for. The first is taken on trust, later ones are when three payloads in a
// row bore them: so the name of a new key is accepted, and a value that travels
// in a name is not. restless tells that it was replaced before that.
func (g *Guard) trustsHeader(v *Verdict) (trusted, restless bool) {
	const remembered = 4
	f := g.parts.fixed
	if slices.Contains(g.headers, f) {
		return true, false
	}
	if len(g.headers) > 0 {
		if f != g.header {
			restless = g.bearing > 0
			g.header, g.bearing = f, 0
		}
		if g.bearing++; g.bearing < confirmations {
			return false, restless
		}
		v.Events = append(v.Events, Event{EventHeader, "the payloads have another header than before, such as the name of a new key"})
		g.bearing = 0
	}
	if len(g.headers) == remembered {
		g.headers = append(g.headers[:0], g.headers[1:]...)
	}
	g.headers = append(g.headers, f)
	return true, false
}

func shortDigest(b []byte) [16]byte {
	d := sha256.Sum256(b)
	return [16]byte(d[:16])
}

func fingerprint(parts ...[]byte) uint64 {
	var b [256]byte
	all := b[:0]
	for _, p := range parts {
		all = append(all, p...)
	}
	d := sha256.Sum256(all)
	return binary.LittleEndian.Uint64(d[:])
}
