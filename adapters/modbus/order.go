package modbus

import (
	"fmt"
	"strings"
)

// Order is the byte order of a value over its registers. Its zero value is
// big-endian, which is what the Modbus specification intends. Letters name the
// bytes of the value from the most significant, A, in the order in which they
// come over the wire.
type Order struct {
	letters uint8    // 0 (zero value), 2, 4 or 8
	at      [8]uint8 // at[i] is the place in the value of byte i on the wire
}

// ParseOrder reads an order:
//
//   - ABCD, CDAB, BADC or DCBA: a pattern for 32 bits, which applies to 64 bits
//     too (CDAB is GHEFCDAB there) and leaves 16 bits, texts and bytes alone
//   - eight letters, each of A to H once: for 64 bits; it leaves 16 bits, texts
//     and bytes alone and is a problem for 32
//   - AB or BA: for 16 bits, texts and bytes; BA swaps the bytes of each register
func ParseOrder(s string) (Order, error) {
	var o Order
	switch len(s) {
	case 2, 4, 8:
	default:
		return o, badOrder(s)
	}
	var seen [8]bool
	for i := range len(s) {
		place := s[i] - 'A'
		if int(place) >= len(s) || seen[place] {
			return Order{}, badOrder(s)
		}
		seen[place] = true
		o.at[i] = place
	}
	o.letters = uint8(len(s))
	if len(s) == 4 {
		switch s {
		case "ABCD", "CDAB", "BADC", "DCBA":
		default:
			return Order{}, badOrder(s)
		}
	}
	return o, nil
}

func badOrder(s string) error {
	if u := strings.ToUpper(s); u != s {
		if _, err := ParseOrder(u); err == nil {
			return fmt.Errorf("there is no order %q; write %s", shorten(s), u)
		}
	}
	return fmt.Errorf("there is no order %q; write ABCD, CDAB, BADC or DCBA, or eight letters such as GHEFCDAB for 64 bits, or AB or BA for 16", shorten(s))
}

// String gives the letters as they were written, and ABCD for the zero value.
func (o Order) String() string {
	if o.letters == 0 {
		return "ABCD"
	}
	var b [8]byte
	for i := range o.letters {
		b[i] = 'A' + o.at[i]
	}
	return string(b[:o.letters])
}

// For gives the order that holds for a value of the type, in its own number of
// letters: CDAB is GHEFCDAB for a float64, and AB for an int16. ok is false
// where the order says nothing about such a value: eight letters for 32 bits.
func (o Order) For(t Type) (own Order, ok bool) {
	width := uint8(t.width())
	switch {
	case width == 0 || width == 2: // texts and bytes have no width of their own
		if o.letters == 2 {
			return o, true
		}
		return identity(2), true // a machine's pattern for wider values
	case o.letters == 0:
		return identity(width), true
	case o.letters == width:
		return o, true
	case o.letters == 4 && width == 8:
		// A pattern says whether words are reversed and whether the bytes of a
		// word are swapped.
		reversed, swapped := o.at[0] >= 2, o.at[0]%2 == 1
		own = Order{letters: 8}
		for i := range uint8(8) {
			word, in := i/2, i%2
			if reversed {
				word = 3 - word
			}
			if swapped {
				in = 1 - in
			}
			own.at[i] = 2*word + in
		}
		return own, true
	}
	return Order{}, false
}

// identity is big-endian in so many letters.
func identity(letters uint8) Order {
	return Order{letters: letters, at: [8]uint8{0, 1, 2, 3, 4, 5, 6, 7}}
}

// swaps tells whether a two-letter order swaps the bytes of a register.
func (o Order) swaps() bool { return o.letters == 2 && o.at[0] == 1 }

// number puts the bytes of a number together; wire has the width that the order
// has letters.
func (o Order) number(wire []byte) uint64 {
	n := o.letters
	_ = wire[n-1]
	var u uint64
	for i := range n {
		u |= uint64(wire[i]) << (8 * (n - 1 - o.at[i]))
	}
	return u
}
