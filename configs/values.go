package configs

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fieldseal/fieldseal/adapters/modbus"
)

func (n node) isMapping() bool { return n.present() && n.y.Kind == yaml.MappingNode }

// address reads a Modbus address as it stands in the file: a number is not
// converted, because YAML programs differ in how they read leading zeros.
func (n node) address() (modbus.Address, bool) {
	s, ok := n.source("write holding/100, 40101 or reg/101")
	if !ok {
		return modbus.Address{}, false
	}
	a, err := modbus.ParseAddress(s)
	if word, bit, cut := strings.Cut(s, "."); err != nil && cut {
		_, wordErr := modbus.ParseAddress(word)
		if b, bitErr := strconv.ParseUint(bit, 10, 8); wordErr == nil && bitErr == nil && b < 16 {
			n.wrong(quote(s)+" names a bit, and an address is that of a whole register", "write at: "+word+", type: uint16 and bits: {"+bit+": NAME}")
			return a, false
		}
	}
	if err != nil {
		n.wrong(split(err))
	}
	return a, err == nil
}

func (n node) modbusType() (modbus.Type, bool) {
	s, ok := n.text()
	if !ok {
		return 0, false
	}
	t, err := modbus.ParseType(s)
	if err != nil {
		n.wrong(split(err))
	}
	return t, err == nil
}

// scale reads a factor, or a line through two points.
func (n node) scale() *modbus.Scale {
	if !n.present() {
		return nil
	}
	if !n.isMapping() {
		f, ok := n.number()
		if !ok {
			return nil
		}
		return &modbus.Scale{Factor: f}
	}
	m := n.mapping()
	raw, rawOK := m.need("raw", "write raw: [0, 27648]").two()
	value, valueOK := m.need("value", "write value: [0, 600]").two()
	m.done()
	if !rawOK || !valueOK {
		return nil
	}
	a, aOK := raw[0].number()
	b, bOK := raw[1].number()
	c, cOK := value[0].number()
	d, dOK := value[1].number()
	if !aOK || !bOK || !cOK || !dOK {
		return nil
	}
	if a == b {
		m.get("raw").wrong("both raw numbers are the same", "write two different ones")
		return nil
	}
	factor := (d - c) / (b - a)
	return &modbus.Scale{Factor: factor, Offset: c - factor*a}
}

// two reads a list of two.
func (n node) two() ([]node, bool) {
	if !n.present() {
		return nil, false
	}
	items := n.items()
	if len(items) != 2 {
		n.wrong(n.called+" is no list of two numbers", "write "+n.unquoted()+": [0, 100]")
		return nil, false
	}
	return items, true
}

func (n node) unquoted() string { return strings.Trim(n.called, "'") }

// valid reads the raw values that mean something.
func (n node) valid() *modbus.Range {
	if !n.present() {
		return nil
	}
	m := n.mapping()
	raw, ok := m.need("raw", "write raw: [-4864, 32511]").two()
	m.done()
	if !ok {
		return nil
	}
	const least, most = -1 << 63, 1<<63 - 1
	a, aOK := raw[0].whole(least, most)
	b, bOK := raw[1].whole(least, most)
	switch {
	case !aOK || !bOK:
		return nil
	case a > b:
		m.get("raw").wrong("the first raw value is greater than the second", "write the lower one first")
		return nil
	}
	return &modbus.Range{Min: a, Max: b}
}

// bitPattern reads a raw value of so many bits: 0x8000, or -32768 for the same.
func (n node) bitPattern(width int) *uint64 {
	const instead = "write the raw value, such as 0x8000"
	s, ok := n.scalar(instead, "!!int", "!!float")
	if !ok {
		return nil
	}
	var v uint64
	if i, err := parseInt(s); err == nil {
		v = uint64(i)
		if i < 0 && width > 0 && width < 64 {
			if i < -1<<(width-1) {
				n.wrong(n.called+" is out of range", instead)
				return nil
			}
			v &= 1<<width - 1
		}
	} else if v, err = strconv.ParseUint(s, 0, 64); err != nil || s[0] == '0' && !strings.HasPrefix(s, "0x") || strings.Contains(s, "_") {
		n.wrong(n.called+" is no whole number", instead)
		return nil
	}
	return &v
}
