package stream

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/policy"
)

// Level is a sensitivity level with the keys of who may read it.
type Level struct {
	Name    string
	Send    policy.Send
	Pad     bool
	Hide    bool // points' names stay out of addresses
	Readers []Reader
}

// Reader is one recipient's key, and the machines it may read of; none given
// means all.
type Reader struct {
	Key  envelope.Recipient
	Only []policy.Pattern
}

// Config is what a [Set] is made from.
type Config struct {
	Gateway  string
	Signer   envelope.Signer
	Start    uint64  // the start counter, on disk before the set is made
	Instance [8]byte // random for each start
	IDKey    []byte  // secret under which message ids are made; at least 16 bytes
	NamesKey []byte  // secret under which hidden names are; the same for ever; at least 16 bytes
	Levels   []Level

	CheckpointMessages int           // sign when this many messages are unsigned; 0: 64
	CheckpointEvery    time.Duration // and when this much time has passed; 0: 5 s
	RekeyAfter         time.Duration // life of a stream key; 0: 1 h
	RekeyFrames        uint64        // frames under one key; 0: 2^24
	CommitBytes        int           // what one Build makes at most, and one message more; 0: 1 MiB
}

const (
	maxBuiltMessages = 1024 // of one stream in one Build: a checkpoint has to sign them
	messageCost      = 256  // of a message besides its body, about
)

// Set is all streams of one gateway. It is not safe for concurrent use.
type Set struct {
	Config
	streams    map[envelope.Stream]*state
	mac        hash.Hash          // of message ids
	built      []envelope.Message // not accepted yet, in order
	size       int                // of built, about, in bytes
	body       []byte             // scratch that the built frames' bodies stand in
	stated     uint64             // statements made since the start
	complaints []error            // of a Build, that cost no samples
	turn       int                // which streams' heads the next statement repeats
}

// state is one stream. head is what was accepted; next and the epoch fields run
// ahead of it between Build and Accept.
type state struct {
	head     envelope.Head
	next     uint64 // number of the next message
	epoch    envelope.Epoch
	epochs   uint32 // begun since this start
	open     bool   // an epoch of this start is open
	closing  bool   // the closing checkpoint of the accepted epoch is built
	sealer   *envelope.Sealer
	since    time.Time // when the epoch was begun
	pad      bool      // what the sealer does
	hide     bool      // whether its catalogue has ids
	told     catalogued
	named    uint64           // the number that the newest statement over it named
	unsigned time.Time        // since when messages wait for a checkpoint; zero while none was seen
	keyFrame envelope.Message // of the open epoch, for preambles; no body where the stream is clear
}

var errNotAccepted = errors.New("what was built before was not accepted yet")

// errDecidedSealed is the last wall: what was decided as sealed is not sent by a
// level that has become a clear one meanwhile.
var errDecidedSealed = errors.New("it was decided as sealed, and the level sends in clear now")

// ErrNobody means that a sealed stream has no recipient who may read it.
var ErrNobody = errors.New("no recipient may read it")

// NewSet makes a set that goes on where the recovered heads ended.
func NewSet(c Config, heads Heads) *Set {
	c.CheckpointMessages = cmp.Or(c.CheckpointMessages, 64)
	c.CheckpointEvery = cmp.Or(c.CheckpointEvery, 5*time.Second)
	c.RekeyAfter = cmp.Or(c.RekeyAfter, time.Hour)
	c.RekeyFrames = cmp.Or(c.RekeyFrames, 1<<24)
	c.CommitBytes = cmp.Or(c.CommitBytes, 1<<20)
	s := &Set{Config: c, streams: make(map[envelope.Stream]*state), mac: hmac.New(sha256.New, c.IDKey)}
	for id, h := range heads.of {
		s.streams[id] = &state{head: h.Head, next: h.Sequence + 1}
	}
	return s
}

// Has tells whether there is a level of that name.
func (c *Config) Has(level string) bool {
	return slices.ContainsFunc(c.Levels, func(l Level) bool { return l.Name == level })
}

// Readers gives the keys that may read a machine's stream of a level.
func (c *Config) Readers(machine, level string) []envelope.Recipient {
	var keys []envelope.Recipient
	for i := range c.Levels {
		if c.Levels[i].Name != level {
			continue
		}
		for _, r := range c.Levels[i].Readers {
			if len(r.Only) == 0 || slices.ContainsFunc(r.Only, func(p policy.Pattern) bool { return p.MatchMachine(machine) }) {
				keys = append(keys, r.Key)
			}
		}
	}
	return keys
}

// Build turns what is pending, and the checkpoints that are due, into messages,
// which [Set.Built] then gives. It must not be called again before
// [Set.Accept]: what an outbox refused is offered to it again as it is, since a
// number and a nonce are never used twice.
//
// left tells that more was pending than one commit takes: after Accept, Build is
// to be called again with the same slice, which knows how far it is.
//
// An error concerns the streams that it names, whose samples are then lost; the
// messages of the others are built.
func (s *Set) Build(pending []Pending, now time.Time) (left bool, err error) {
	if len(s.built) > 0 {
		return true, errNotAccepted
	}
	s.body = s.body[:0]
	var errs []error
	for i := range pending {
		p := &pending[i]
		if p.empty() {
			continue
		}
		if s.size < s.CommitBytes {
			if err := s.buildStream(p, now); err != nil {
				errs = append(errs, fmt.Errorf("cannot seal %s/%s: %w", p.Machine, p.Level, err))
				p.samples, p.passed = len(p.lane.samples), len(p.lane.passed)
			}
		}
		left = left || !p.empty()
	}
	errs = append(errs, s.complaints...)
	s.complaints = s.complaints[:0]
	for id, st := range s.streams {
		if err := s.checkpointIfDue(id, st, now); err != nil {
			errs = append(errs, err)
		}
	}
	return left, errors.Join(errs...)
}

// Built gives the messages that wait for the outbox, in the order in which they
// must be accepted. They are valid until [Set.Accept].
func (s *Set) Built() []envelope.Message { return s.built }

func (s *Set) buildStream(p *Pending, now time.Time) error {
	level := slices.IndexFunc(s.Levels, func(l Level) bool { return l.Name == p.Level })
	if level < 0 {
		return fmt.Errorf("the policy has no level %q", p.Level)
	}
	if s.Levels[level].Send == policy.SendClear && !p.clear {
		return errDecidedSealed
	}
	id := envelope.Stream{Gateway: s.Gateway, Machine: p.Machine, Level: p.Level}
	st := s.streams[id]
	if st == nil {
		st = &state{next: 1, head: envelope.Head{Stream: id}}
		s.streams[id] = st
	}
	if s.needsEpoch(id, st, &s.Levels[level], now) {
		if err := s.beginEpoch(id, st, &s.Levels[level], now); err != nil {
			return err
		}
	} else if err := s.checkpointIfDue(id, st, now); err != nil {
		return err
	}
	if err := s.catalogue(id, st, &s.Levels[level], p, now); err != nil {
		s.complaints = append(s.complaints, err)
	}
	if err := s.frames(id, st, &s.Levels[level], p); err != nil {
		return err
	}
	for ; p.passed < len(p.lane.passed) && !s.full(st); p.passed++ {
		b := &p.lane.passed[p.passed]
		m := s.message(id, st, envelope.Passthrough, b.time)
		m.Address.Point, m.ContentType, m.Body = s.pointName(id, &s.Levels[level], b.point), b.contentType, b.body
		s.push(st, m)
	}
	return nil
}

// full tells whether this commit takes no more of a stream.
func (s *Set) full(st *state) bool {
	return s.size >= s.CommitBytes || st.next > st.head.Sequence+maxBuiltMessages
}

// needsEpoch tells whether the stream needs a new key, or none where its level
// has become a clear one. A key whose time is over, or whose recipients are
// others now, still serves for what this commit adds to what it has added.
func (s *Set) needsEpoch(id envelope.Stream, st *state, level *Level, now time.Time) bool {
	if !st.open || (st.sealer == nil) != (level.Send == policy.SendClear) {
		return true
	}
	if st.sealer == nil || st.next != st.head.Sequence+1 {
		return false
	}
	return st.sealer.Frames() >= s.RekeyFrames || now.Sub(st.since) >= s.RekeyAfter || st.pad != level.Pad || st.hide != level.Hide ||
		st.sealer.Due(now, s.Readers(id.Machine, level.Name))
}

// frames makes data frames of at most MaxBody from the samples. They are clear
// only where the level says so in so many words.
func (s *Set) frames(id envelope.Stream, st *state, level *Level, p *Pending) error {
	bound := envelope.SizeBound
	if level.Send == policy.SendClear {
		bound = envelope.ClearBound
	}
	none := bound(nil)
	for p.samples < len(p.lane.samples) && !s.full(st) {
		samples := p.lane.samples[p.samples:]
		n, size, newest := 0, none, samples[0].Time
		for n < len(samples) {
			size += bound(samples[n:n+1]) - none
			if size > envelope.MaxBody && n > 0 {
				break
			}
			newest = max(newest, samples[n].Time)
			n++
		}
		m := s.message(id, st, envelope.Data, newest)
		at := len(s.body)
		if level.Send == policy.SendClear {
			m.ContentType = envelope.TypeClear
			s.body = envelope.AppendClear(s.body, p.Machine+"/", samples[:n])
		} else {
			var err error
			m.ContentType = envelope.TypeSealed
			if s.body, err = st.sealer.Seal(s.body, m.Sequence, p.Machine+"/", samples[:n]); err != nil {
				return err
			}
		}
		m.Body = s.body[at:len(s.body):len(s.body)]
		s.push(st, m)
		p.samples += n
	}
	return nil
}

// beginEpoch closes the epoch before and begins a new one with a new key.
func (s *Set) beginEpoch(id envelope.Stream, st *state, level *Level, now time.Time) error {
	if err := s.close(id, st, now); err != nil {
		return err
	}
	st.open, st.sealer, st.keyFrame = false, nil, envelope.Message{}
	epoch := envelope.Epoch{Start: s.Start, Instance: s.Instance, Number: st.epochs + 1}
	if level.Send != policy.SendClear {
		readers := s.Readers(id.Machine, level.Name)
		if len(readers) == 0 {
			return ErrNobody
		}
		sealer, err := envelope.NewSealer(envelope.EpochConfig{
			Stream: id, Epoch: epoch, Recipients: readers, Signer: s.Signer, Pad: level.Pad, Time: now, Life: s.RekeyAfter,
		})
		if err != nil {
			return err
		}
		st.sealer, st.pad, st.hide = sealer, level.Pad, level.Hide
	}
	st.told = catalogued{} // the epoch may have new recipients
	st.epoch, st.epochs, st.open, st.since = epoch, epoch.Number, true, now
	if st.sealer == nil {
		return nil
	}
	m := s.message(id, st, envelope.KeyFrame, now.UnixNano())
	body, err := st.sealer.KeyFrame(m.Sequence)
	if err != nil {
		st.open = false
		return err
	}
	m.ContentType, m.Body = envelope.TypeSigned, body
	st.keyFrame = m
	s.push(st, m)
	return nil
}

// message begins a message with the stream's next number.
func (s *Set) message(id envelope.Stream, st *state, kind envelope.Kind, unixNano int64) envelope.Message {
	m := envelope.Message{
		Address: envelope.Address{Stream: id, Kind: kind}, Epoch: st.epoch, Sequence: st.next, Time: unixNano,
	}
	m.ID = s.id(&m)
	return m
}

// push gives the number that message took.
func (s *Set) push(st *state, m envelope.Message) {
	st.next++
	s.size += len(m.Body) + messageCost
	s.built = append(s.built, m)
}

// id makes a message id that nobody without the secret can claim first.
func (s *Set) id(m *envelope.Message) (id [16]byte) {
	b := make([]byte, 0, 128)
	b = append(b, m.Epoch.Instance[:]...)
	for _, n := range []uint64{m.Epoch.Start, uint64(m.Epoch.Number), m.Sequence} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, part := range []string{m.Address.Stream.Gateway, m.Address.Stream.Machine, m.Address.Stream.Level} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	s.mac.Reset()
	s.mac.Write(b)
	copy(id[:], s.mac.Sum(b[:0]))
	return id
}
