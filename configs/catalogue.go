package configs

import (
	"math"
	"strconv"
	"strings"
)

// Bounds of what a machine's file says for people: an entry of the catalogue has
// to fit one message.
const (
	mostTags   = 64
	mostValues = 256
	mostText   = 256 // bytes
)

// tags reads what is said of the machine beside its values.
func (r *machineReader) tags(m *mapping) {
	if len(m.entries) > mostTags {
		m.wrong("more than "+itoa(mostTags)+" tags", "write fewer")
		return
	}
	for _, e := range m.entries {
		key := node{f: e.value.f, y: e.key, called: "the key"}
		if s, ok := e.value.short(); key.checkName(e.key.Value) && ok {
			if r.m.Tags == nil {
				r.m.Tags = map[string]string{}
			}
			r.m.Tags[e.key.Value] = s
		}
	}
}

// short reads a text for people that is not too long for the catalogue.
func (n node) short() (string, bool) {
	s, ok := n.text()
	if ok && len(s) > mostText {
		n.wrong(n.called+" is longer than "+itoa(mostText)+" bytes", "write a shorter text")
		return "", false
	}
	return s, ok
}

// values reads what the numbers of an enumeration mean.
func (p *reading) values() {
	n := p.m.get("values")
	if !n.present() {
		return
	}
	least, most, whole := integers(p.word)
	if p.typed && !whole {
		n.wrong("'values' name the numbers of an integer type, and this is of type "+p.word, "remove it, or write the type that the point has, such as uint16")
		return
	}
	if _, scaled := p.m.peek("scale"); scaled {
		n.wrong("'values' name whole numbers, and 'scale' makes others of them", "remove one of the two")
		return
	}
	m := n.mapping()
	switch {
	case m.present() && len(m.entries) == 0:
		n.wrong("'values' is empty", "write values: {0: stopped, 1: running}")
	case len(m.entries) > mostValues:
		n.wrong("more than "+itoa(mostValues)+" values", "write those that mean something")
		return
	}
	p.point.Values = make(map[int64]string, len(m.entries))
	for _, e := range m.entries {
		key := node{f: e.value.f, y: e.key, called: "the number"}
		v, ok := key.whole(least, most)
		if !ok {
			continue
		}
		e.value.called = "the text of " + strconv.FormatInt(v, 10)
		s, ok := e.value.short()
		if _, twice := p.point.Values[v]; twice {
			key.wrong("the number "+strconv.FormatInt(v, 10)+" is there already", "write it once")
		} else if ok {
			p.point.Values[v] = s
		}
	}
}

// integers gives the numbers of an integer type by the word for it, as far as an
// enumeration can name them; any where the type is not known.
func integers(word string) (least, most int64, whole bool) {
	digits, ok := strings.CutPrefix(word, "uint")
	signed := false
	if !ok {
		digits, signed = strings.CutPrefix(word, "int")
	}
	bits, err := strconv.Atoi(digits)
	switch {
	case !ok && !signed || err != nil:
		return math.MinInt64, math.MaxInt64, false
	case signed:
		return -1 << (bits - 1), 1<<(bits-1) - 1, true
	default:
		return 0, 1<<min(bits, 63) - 1, true
	}
}

// counter reads that the point only rises.
func (p *reading) counter() {
	n := p.m.get("counter")
	m := n.mapping()
	if !m.present() {
		return
	}
	resets := m.need("resets", "write counter: {resets: true} where it begins again, as after a restart of the machine, and false where it never does")
	p.point.Counter = &Counter{Resets: resets.flag()}
	m.done()
	_, bits := p.m.peek("bits")
	_, values := p.m.peek("values")
	switch {
	case bits: // said there
	case p.typed && !p.numeric:
		n.wrong("'counter' is for numbers, and this is none", "remove it")
	case values:
		n.wrong("'counter' and 'values' are there both: what is counted has no names", "remove one of the two")
	}
}
