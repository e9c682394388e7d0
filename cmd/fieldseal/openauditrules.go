package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// The stream of what happens to the gateway itself: sealed for those whom the
// policy names, and of no machine.
const (
	ownMachine = "_gateway"
	ownLevel   = "_events"
)

// rules is one signed policy, as far as it can be seen from outside.
type rules struct {
	path         string
	revision     int
	file, signed [32]byte // digests by which a statement may name it
	levels       map[string]approval.Level
	accept       []string
	tables       map[string]table // by gateway
	released     []policy.Pattern
	events       []string
	who          map[string][]reader
	owners       map[envelope.KeyID]string
	readers      map[[2]string][]envelope.KeyID // by machine and level
	guards       map[guarded]*ciphertext.Guard
	known        map[guarded]verdict // of clear points
}

// table is what was signed for the points of a gateway.
type table map[[2]string]approval.Entry

// reader is a key of a recipient.
type reader struct {
	id   envelope.KeyID
	only []policy.Pattern
}

// guarded is a point whose payloads have no structure, so that only many of them
// tell what they are.
type guarded struct {
	stream envelope.Stream
	point  string
}

// maxGuards is how many points without structure are looked at; maxKnown of how
// many clear ones the verdict is kept.
const (
	maxGuards = 1 << 12
	maxKnown  = 1 << 16
)

func newRules(p signedPolicy, who *configs.Trust) *rules {
	r := &rules{
		path: p.path, revision: p.Revision, file: p.File, signed: p.Digest(), accept: p.Accept, events: p.Events,
		levels: make(map[string]approval.Level), tables: make(map[string]table),
		who: make(map[string][]reader), owners: make(map[envelope.KeyID]string), readers: make(map[[2]string][]envelope.KeyID),
		guards: make(map[guarded]*ciphertext.Guard), known: make(map[guarded]verdict),
	}
	for _, l := range p.Levels {
		r.levels[l.Name] = l
	}
	for _, t := range p.Tables {
		entries := make(table, len(t.Entries))
		for _, e := range t.Entries {
			entries[[2]string{e.Machine, e.Point}] = e
		}
		r.tables[t.Gateway] = entries
	}
	for _, released := range p.Released {
		for _, s := range released.Points {
			if pattern, err := policy.ParsePattern(s); err == nil { // it was checked when it was signed
				r.released = append(r.released, pattern)
			}
		}
	}
	for name, recipient := range who.Recipients {
		for _, k := range recipient.Keys {
			if key, err := envelope.ParseRecipient(k.Content); err == nil {
				r.who[name] = append(r.who[name], reader{key.ID(), recipient.Only})
				r.owners[key.ID()] = name
			}
		}
	}
	return r
}

// level gives the rules of a stream's level, and what is wrong with it as such.
func (r *rules) level(s envelope.Stream) (approval.Level, verdict) {
	if s.Machine == ownMachine && s.Level == ownLevel {
		return approval.Level{Name: ownLevel, Send: "sealed", To: r.events}, verdict{}
	}
	l, ok := r.levels[s.Level]
	switch {
	case !ok:
		return l, verdict{"unknown-level", "the policy has no level " + s.Level}
	case l.Send == "withheld":
		return l, verdict{"withheld-level", "the policy withholds this level, and it was sent"}
	}
	return l, verdict{}
}

// sealed judges a sealed message.
func (r *rules) sealed(s envelope.Stream) verdict {
	_, v := r.level(s)
	return v
}

// clear judges a clear sample of a point; of an empty one, that a clear message
// is there at all.
func (r *rules) clear(s envelope.Stream, point string) verdict {
	key := guarded{s, point}
	v, ok := r.known[key]
	if !ok {
		if v = r.leaves(s, point); len(r.known) < maxKnown {
			r.known[key] = v
		}
	}
	return v
}

func (r *rules) leaves(s envelope.Stream, point string) verdict {
	l, v := r.level(s)
	switch {
	case v.kind != "":
		return v
	case l.Send != "clear":
		return verdict{"clear", "left in clear, and the policy seals this level"}
	case point == "":
		return verdict{}
	}
	signed, ok := r.tables[s.Gateway]
	e, listed := signed[[2]string{s.Machine, point}]
	switch {
	case !ok:
		return verdict{"not-signed", "left in clear, and nothing was signed for this gateway"}
	case !slices.ContainsFunc(r.released, func(p policy.Pattern) bool { return p.Match(s.Machine, point) }):
		return verdict{"not-released", "left in clear, and the policy does not release it"}
	case !listed || e.Treatment != policy.Clear || e.Level != s.Level:
		return verdict{"not-signed", "left in clear, and was not signed for that"}
	}
	return verdict{}
}

// named judges what a catalogue in clear tells of a point: its name, unit and
// texts. A gateway puts no tags there: they are of the machine file, and nobody
// released them.
func (r *rules) named(s envelope.Stream, entry *envelope.Entry) verdict {
	point := entry.Name
	l, v := r.level(s)
	switch {
	case v.kind != "":
		return v
	case l.Send != "clear":
		return verdict{"clear", "a catalogue left in clear, and the policy seals this level"}
	}
	if e, ok := r.tables[s.Gateway][[2]string{s.Machine, point}]; !ok || e.Level != s.Level {
		return verdict{"not-signed", "a catalogue in clear tells of it, and it was not signed for this level"}
	}
	if v := r.clear(s, point); v.kind != "" {
		return verdict{v.kind, "told of by a catalogue in clear, and was not released and signed for that"}
	}
	if len(entry.Tags) > 0 {
		return verdict{"tags", "a catalogue in clear has tags of it, which no policy releases"}
	}
	return verdict{}
}

// payload judges what a device encrypted itself.
func (r *rules) payload(d *envelope.Delivery) verdict {
	if _, v := r.level(d.Stream); v.kind != "" {
		return v
	}
	entries := r.passing(d)
	if len(entries) == 0 {
		return verdict{"not-signed", "left as the device gave it, and was not signed to pass through at this level"}
	}
	e := entries[0]
	if i := slices.IndexFunc(entries, func(e approval.Entry) bool { return ciphertext.ContentType(e.Format) == d.ContentType }); i >= 0 {
		e = entries[i]
	} else {
		return verdict{"format", "left as " + d.ContentType + ", and " + e.Format + " was signed"}
	}
	switch {
	case !slices.Contains(r.accept, e.Format):
		return verdict{"format", "left as " + e.Format + ", which the policy does not accept"}
	case e.Wrap:
		return verdict{"not-wrapped", "left as the device gave it, and was signed to be sealed again"}
	case e.Format == ciphertext.Opaque:
		return r.opaque(d)
	}
	if err := ciphertext.Judge(e.Format, d.Payload); err != nil {
		return verdict{"not-ciphertext", "left as it was, and is no ciphertext as " + e.Format + ": " + err.Error()}
	}
	return verdict{}
}

// passing gives what was signed of a point that passes through. Where names are
// hidden the address does not tell which point it is: it may be any of those.
func (r *rules) passing(d *envelope.Delivery) (out []approval.Entry) {
	signed := r.tables[d.Stream.Gateway]
	fits := func(e approval.Entry) bool { return e.Treatment == policy.Passed && e.Level == d.Stream.Level }
	if e, ok := signed[[2]string{d.Stream.Machine, d.Point}]; ok && fits(e) {
		return []approval.Entry{e}
	}
	if !r.levels[d.Stream.Level].HideNames {
		return nil
	}
	for _, e := range signed {
		if e.Machine == d.Stream.Machine && fits(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b approval.Entry) int { return strings.Compare(a.Point, b.Point) })
	return out
}

// opaque judges a payload without structure among those before it.
func (r *rules) opaque(d *envelope.Delivery) verdict {
	key := guarded{d.Stream, d.Point}
	g := r.guards[key]
	if g == nil {
		if len(r.guards) >= maxGuards {
			return verdict{"not-judged", "too many points without structure to look at each"}
		}
		var err error
		if g, err = ciphertext.NewGuard(ciphertext.Config{Format: ciphertext.Opaque}); err != nil { // the format is one
			return verdict{"not-judged", err.Error()}
		}
		r.guards[key] = g
	}
	if v := g.Judge(d.Payload, time.Unix(0, d.Time)); !v.Pass && !v.Probation {
		return verdict{"not-ciphertext", "left as it was, and does not look encrypted: " + v.Reason}
	}
	return verdict{}
}

// recipients judges whom an epoch is sealed for: exactly those that the trust
// file gives for the level, for this machine.
func (r *rules) recipients(s envelope.Stream, ids []envelope.KeyID) verdict {
	l, v := r.level(s)
	if v.kind != "" {
		return v
	}
	if sorted := slices.SortedFunc(slices.Values(ids), func(a, b envelope.KeyID) int { return bytes.Compare(a[:], b[:]) }); len(slices.Compact(sorted)) < len(ids) {
		return verdict{"recipients", "the same key twice among those that it is sealed for: " + r.names(ids)}
	}
	want := r.expected(s, l)
	var more, less []envelope.KeyID
	for _, id := range ids {
		if !slices.Contains(want, id) {
			more = append(more, id)
		}
	}
	for _, id := range want {
		if !slices.Contains(ids, id) {
			less = append(less, id)
		}
	}
	switch {
	case len(more) > 0:
		return verdict{"recipients", "sealed for somebody else than the policy and the trust file say: " + r.names(more)}
	case len(less) > 0:
		return verdict{"recipients", "not sealed for all that the policy and the trust file say: " + r.names(less) + " cannot open it"}
	}
	return verdict{}
}

// expected gives the keys that may open a stream.
func (r *rules) expected(s envelope.Stream, l approval.Level) (out []envelope.KeyID) {
	key := [2]string{s.Machine, s.Level}
	if ids, ok := r.readers[key]; ok {
		return ids
	}
	for _, name := range l.To {
		for _, k := range r.who[name] {
			ours := slices.ContainsFunc(k.only, func(p policy.Pattern) bool { return p.MatchMachine(s.Machine) })
			if len(k.only) == 0 || ours && s.Machine != ownMachine {
				out = append(out, k.id)
			}
		}
	}
	if len(r.readers) < maxRefused {
		r.readers[key] = out
	}
	return out
}

// names says whose keys they are.
func (r *rules) names(ids []envelope.KeyID) string {
	var out []string
	for _, id := range ids {
		owner := r.owners[id]
		if owner == "" {
			owner = "a key that the trust file does not list"
		}
		out = append(out, fmt.Sprintf("%s (%v)", owner, id))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}
