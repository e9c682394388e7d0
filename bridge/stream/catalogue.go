package stream

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/policy"
)

// Catalogue is what a machine's streams say of its points besides their values.
// It is shared and not changed once it is made: a new one has another Version.
type Catalogue struct {
	Version uint64
	Entries map[string][]envelope.Entry // by level
}

// describe makes the machine's catalogue anew, from its points and where they go.
func (m *Machine) describe() {
	of := make(map[string][]envelope.Entry)
	for i := range min(len(m.points), len(m.decisions)) {
		level := m.decisions[i].Level
		e := m.entry(i)
		// Names and units come with the samples; a payload has nothing but its address.
		if level != "" && (len(e.Texts) > 0 || len(e.Tags) > 0 || m.points[i].Passthrough != "") {
			of[level] = append(of[level], e)
		}
	}
	digest := sha256.New()
	for _, level := range slices.Sorted(maps.Keys(of)) {
		slices.SortFunc(of[level], func(a, b envelope.Entry) int { return cmp.Compare(a.Name, b.Name) })
		b, err := envelope.AppendCatalogue(nil, level, of[level])
		if err != nil { // two points of one name: the loader refuses them
			delete(of, level)
		}
		digest.Write(b)
	}
	m.catalogue = &Catalogue{Version: binary.BigEndian.Uint64(digest.Sum(nil)), Entries: of}
}

// entry gives what the catalogue says of a point. What a device or a file says
// at too great a length is left out: it must not stop the samples.
func (m *Machine) entry(i int) envelope.Entry {
	p := &m.points[i]
	e := envelope.Entry{Name: p.Name, Unit: fitting(p.Unit), Texts: make(map[int64]string), Tags: make(map[string]string)}
	for n, text := range p.Texts {
		if fitting(text) != "" {
			e.Texts[n] = text
		}
	}
	if p.Counter != "" {
		e.Tags["counter"] = p.Counter
	}
	for tag, value := range m.tags {
		if fitting(tag) != "" && fitting(value) != "" {
			e.Tags[tag] = value
		}
	}
	if envelope.CatalogueBound([]envelope.Entry{e}) > envelope.MaxBody {
		e.Texts, e.Tags = nil, nil
	}
	return e
}

// fitting gives s where a catalogue can hold it, and else nothing.
func fitting(s string) string {
	if len(s) > envelope.MaxName || strings.ToValidUTF8(s, "") != s {
		return ""
	}
	return s
}

// catalogued is how much of a catalogue stands in an epoch.
type catalogued struct {
	version uint64
	entries int  // so many of what it may say, in their order
	all     bool // or what is left cannot be said
}

// catalogue adds what the epoch has not of the machine's catalogue, as much as
// the commit takes. In a stream that is clear it names units and enumerations
// only: what the machine's file says beside, nobody released. An error is told
// once: it must not cost samples.
func (s *Set) catalogue(id envelope.Stream, st *state, level *Level, p *Pending, now time.Time) error {
	if p.Catalogue == nil || st.told.version == p.Catalogue.Version && st.told.all {
		return nil
	}
	if st.told.version != p.Catalogue.Version {
		st.told = catalogued{version: p.Catalogue.Version}
	}
	entries := s.tellable(id, level, p.Catalogue.Entries[id.Level])
	for st.told.entries < len(entries) && !s.full(st) {
		part := entries[st.told.entries:]
		n, size := 0, envelope.CatalogueBound(nil)
		for n < len(part) {
			size += envelope.CatalogueBound(part[n:n+1]) - envelope.CatalogueBound(nil)
			if size > envelope.MaxBody && n > 0 {
				break
			}
			n++
		}
		st.told.entries += n
		if err := s.pushCatalogue(id, st, level, p, part[:n], now); err != nil {
			st.told.all = true
			return fmt.Errorf("cannot seal the catalogue of %s/%s: %w", id.Machine, id.Level, err)
		}
	}
	st.told.all = st.told.entries >= len(entries)
	return nil
}

func (s *Set) pushCatalogue(id envelope.Stream, st *state, level *Level, p *Pending, entries []envelope.Entry, now time.Time) error {
	m := s.message(id, st, envelope.Data, now.UnixNano())
	base, at := p.Machine+"/", len(s.body)
	var body []byte
	var err error
	if level.Send == policy.SendClear {
		m.ContentType = envelope.TypeCatalogue
		body, err = envelope.AppendCatalogue(s.body, base, entries)
	} else {
		m.ContentType = envelope.TypeSealed
		body, err = st.sealer.SealCatalogue(s.body, m.Sequence, base, entries)
	}
	if err != nil {
		return err
	}
	s.body = body
	m.Body = s.body[at:len(s.body):len(s.body)]
	s.push(st, m)
	return nil
}

// tellable gives what of the entries the level's stream may say and is not said
// by its addresses, with the ids of hidden names.
func (s *Set) tellable(id envelope.Stream, level *Level, entries []envelope.Entry) []envelope.Entry {
	out := make([]envelope.Entry, 0, len(entries))
	for _, e := range entries {
		if level.Send == policy.SendClear {
			e.Tags = nil
		}
		if !level.Hide && len(e.Texts) == 0 && len(e.Tags) == 0 {
			continue
		}
		if level.Hide {
			e.ID = envelope.HiddenName(s.NamesKey, id, e.Name)
		}
		out = append(out, e)
	}
	return out
}

// pointName is what a point is called in addresses, which a broker reads.
func (s *Set) pointName(id envelope.Stream, level *Level, name string) string {
	if !level.Hide {
		return name
	}
	return envelope.HiddenName(s.NamesKey, id, name)
}
