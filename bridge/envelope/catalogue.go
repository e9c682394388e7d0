package envelope

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// TypeCatalogue is the content type of a catalogue in clear, of a stream that is
// clear. A sealed one is a data frame as any other ([TypeSealed]), so that nobody
// but its recipients can tell it from samples.
const TypeCatalogue = "application/vnd.fieldseal.catalogue.v1+cbor"

// Entry is what a catalogue says of one point.
type Entry struct {
	Name  string            // as in samples, within the base name; not empty
	ID    string            // what stands for the name in addresses; empty where the name is not hidden
	Unit  string            // empty where it has none
	Texts map[int64]string  // what the numbers of an enumeration mean
	Tags  map[string]string // what the machine file says beside: room, drawing, …
}

// HiddenName is what an address carries in place of a point's name where its
// level hides names: the first 16 bytes of HMAC-SHA-256 under the gateway's key
// over the CBOR array ["fieldseal hidden name 1", gateway, machine, level,
// point], as 32 hexadecimal digits. Only the sealed catalogue says whose it is.
// The key is secret, of at least 16 random bytes, and stays the same: a point
// whose id changes would look like another one.
func HiddenName(key []byte, s Stream, point string) string {
	b := appendText([]byte{cborArray | 5}, "fieldseal hidden name 1")
	b = appendText(appendStream(b, &s), point)
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// isHidden tells whether s has the form of what HiddenName gives.
func isHidden(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// AppendCatalogue appends a catalogue in clear: the CBOR map {0: base name,
// 1: [[name, id, unit, {number: text}, {tag: value}], …]} with the entries sorted
// by name. Entries of several catalogues of a stream add up; a later one of the
// same name replaces the earlier. A name, text, tag or value over [MaxName] bytes
// or a name that comes twice is an error.
func AppendCatalogue(dst []byte, base string, entries []Entry) ([]byte, error) {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	for i := range sorted {
		if err := sorted[i].check(); err != nil {
			return dst, err
		}
		if i > 0 && sorted[i-1].Name == sorted[i].Name {
			return dst, fmt.Errorf("%q stands in the catalogue twice", sorted[i].Name)
		}
	}
	dst = appendText(append(dst, cborMap|2, 0), valid(base))
	dst = appendHead(append(dst, 1), cborArray, uint64(len(sorted)))
	for i := range sorted {
		dst = appendEntry(dst, &sorted[i])
	}
	return dst, nil
}

func (e *Entry) check() error {
	ok := e.Name != "" && fits(e.Name) && (e.ID == "" || isHidden(e.ID)) && fits(e.Unit)
	for _, text := range e.Texts {
		ok = ok && fits(text)
	}
	for tag, value := range e.Tags {
		ok = ok && fits(tag) && fits(value)
	}
	if !ok {
		return fmt.Errorf("%q in the catalogue has no name, an id that is none, or something over %d bytes or not UTF-8", clip(e.Name, 64), MaxName)
	}
	return nil
}

func fits(s string) bool { return len(s) <= MaxName && valid(s) == s }

func appendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, cborArray|5)
	dst = appendText(dst, e.Name)
	dst = appendText(dst, e.ID)
	dst = appendText(dst, e.Unit)
	var pairs [][2][]byte
	for n, text := range e.Texts {
		pairs = append(pairs, [2][]byte{appendInt(nil, n), appendText(nil, text)})
	}
	dst = appendPairs(dst, pairs)
	pairs = pairs[:0]
	for tag, value := range e.Tags {
		pairs = append(pairs, [2][]byte{appendText(nil, tag), appendText(nil, value)})
	}
	return appendPairs(dst, pairs)
}

// appendPairs appends a map, its labels in bytewise order (RFC 8949, 4.2.1).
func appendPairs(dst []byte, pairs [][2][]byte) []byte {
	slices.SortFunc(pairs, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	dst = appendHead(dst, cborMap, uint64(len(pairs)))
	for _, p := range pairs {
		dst = append(append(dst, p[0]...), p[1]...)
	}
	return dst
}

// CatalogueBound gives a size that the catalogue does not exceed, sealed and
// padded or in clear. The bound of a whole is at most the sum of the bounds of
// its parts.
func CatalogueBound(entries []Entry) int {
	const head = 3 // of a text of up to MaxName
	n := frameBound
	for i := range entries {
		e := &entries[i]
		n += 1 + 3*head + len(e.Name) + len(e.ID) + len(e.Unit) + 2*5
		for _, text := range e.Texts {
			n += 9 + head + len(text)
		}
		for tag, value := range e.Tags {
			n += 2*head + len(tag) + len(value)
		}
	}
	return n + n/8 + 8
}

// SealCatalogue appends the frame of a catalogue to dst: the body of message
// sequence, of kind [Data] and type [TypeSealed]. It takes part in the rules of
// [Sealer.Seal]. A sender puts it behind the key frame of each epoch, since an
// epoch may have new recipients, and again when it changes.
func (s *Sealer) SealCatalogue(dst []byte, sequence uint64, base string, entries []Entry) ([]byte, error) {
	if err := s.ready(sequence); err != nil {
		return dst, err
	}
	plain, err := AppendCatalogue(s.plain[:0], base, entries)
	if err != nil {
		return dst, fmt.Errorf("cannot seal message %d of %v: %w", sequence, s.config.Stream, err)
	}
	s.plain = plain
	return s.finish(dst, sequence)
}

// catalogue reads what AppendCatalogue wrote, and nothing else.
func (c *cursor) catalogue() (base string, entries []Entry) {
	c.fields(2)
	c.label(0)
	base = string(c.text(MaxBody))
	c.label(1)
	n := c.want(cborArray, "an array of entries")
	for ; n > 0 && c.wrong == ""; n-- {
		e := Entry{}
		c.array(5)
		e.Name, e.ID, e.Unit = c.name(), c.name(), c.name()
		e.Texts = c.texts()
		e.Tags = c.tags()
		if e.ID != "" && !isHidden(e.ID) {
			c.fail("an id that is none")
		}
		if e.Name == "" || len(entries) > 0 && entries[len(entries)-1].Name >= e.Name {
			c.fail("an entry without a name, or out of order")
		}
		entries = append(entries, e)
	}
	if c.wrong != "" {
		return "", nil
	}
	return base, entries
}

// ordered tells whether a label is behind the one before, and remembers it.
func (c *cursor) ordered(last *[]byte, from int) {
	if c.wrong != "" {
		return
	}
	label := c.b[from:c.i]
	if *last != nil && bytes.Compare(*last, label) >= 0 {
		c.fail("a label twice or out of order")
	}
	*last = label
}

func (c *cursor) texts() (texts map[int64]string) {
	var last []byte
	for n := c.want(cborMap, "a map of texts"); n > 0 && c.wrong == ""; n-- {
		from := c.i
		number := c.int()
		c.ordered(&last, from)
		if texts == nil {
			texts = make(map[int64]string)
		}
		texts[number] = c.name()
	}
	return texts
}

func (c *cursor) tags() (tags map[string]string) {
	var last []byte
	for n := c.want(cborMap, "a map of tags"); n > 0 && c.wrong == ""; n-- {
		from := c.i
		tag := c.name()
		c.ordered(&last, from)
		if tags == nil {
			tags = make(map[string]string)
		}
		tags[tag] = c.name()
	}
	return tags
}

// decodeCatalogue reads a catalogue in clear.
func decodeCatalogue(b []byte) (base string, entries []Entry, err error) {
	c := cursor{b: b}
	base, entries = c.catalogue()
	if err := c.end(); err != nil {
		return "", nil, errors.New("cannot read catalogue: " + err.Error())
	}
	return base, entries, nil
}
