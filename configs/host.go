package configs

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// canonical writes an endpoint's URL in one way, so that equal ones are shared and
// what was signed of a device holds however its address is spelt. A path stays as
// it is: some servers tell "" and "/" apart. The error says what to write instead.
func canonical(s, usualPort string) (string, error) {
	u, err := url.Parse(s)
	if err != nil { // the adapter says so
		return s, nil //nolint:nilerr // with where it stands
	}
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	if port == "" {
		port = usualPort
	}
	host, err := canonicalHost(u.Hostname())
	if err != nil {
		return s, err
	}
	u.Host = net.JoinHostPort(host, port)
	return u.String(), nil
}

// canonicalHost writes a host in one way.
func canonicalHost(host string) (string, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String(), nil
	}
	absolute := strings.ToLower(strings.TrimRight(host, "."))
	if a, err := netip.ParseAddr(absolute); err == nil {
		return a.Unmap().String(), nil
	}
	if last := absolute[strings.LastIndexByte(absolute, '.')+1:]; absolute == "" || isNumber(last) {
		return "", errors.New(quote(host) + " is a host's address written in short or in another way; write all four numbers in decimal: " + fourNumbers(absolute))
	}
	return absolute, nil
}

// isNumber tells whether the last part of a host is one: then all of it is an
// address to the system's resolver, whatever number of parts it has.
func isNumber(s string) bool {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// fourNumbers gives what a resolver takes for a short form, or an example.
func fourNumbers(host string) string {
	const example = "10.20.3.13"
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return example
	}
	var address uint64
	for i, p := range parts {
		digits, base := p, 10
		if hex, ok := strings.CutPrefix(p, "0x"); ok {
			digits, base = hex, 16
		} else if len(p) > 1 && p[0] == '0' {
			base = 8
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(digits, base, bits)
		if err != nil {
			return example
		}
		address = address<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address)}).String()
}
