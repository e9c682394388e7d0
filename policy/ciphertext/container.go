package ciphertext

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// magics are first bytes of files and streams that are not encrypted. Only
// those of 3 bytes and more are here: shorter ones stand before random bytes too
// often. zlib and raw deflate are recognised by inflating them.
var magics = [...]string{
	"\x1f\x8b\x08",             // gzip, RFC 1952
	"\x28\xb5\x2f\xfd",         // zstd, RFC 8878
	"\x04\x22\x4d\x18",         // LZ4 frame
	"\xfd7zXZ\x00",             // xz
	"\x5d\x00\x00",             // LZMA alone
	"7z\xbc\xaf\x27\x1c",       // 7z
	"\xff\x06\x00\x00sNaPpY",   // Snappy framing
	"PK\x03\x04", "PK\x05\x06", // zip
	"Rar!\x1a", "MSCF",
	"\x89PNG", "\xff\xd8\xff", "GIF8", "RIFF", "II*\x00", "MM\x00*", // images, WAVE
	"\x00\x00\x01\x00", "8BPS", "OggS", "fLaC", "ID3", "\x1aE\xdf\xa3",
	"%PDF", "\xd0\xcf\x11\xe0", "{\\rtf", "<?xml", "<svg",
	"\x7fELF", "\x00asm", "\xca\xfe\xba\xbe", "\xcf\xfa\xed\xfe", "!<arch>",
	"SQLite", "PAR1", "Obj\x01", "ARROW1", "\x89HDF", "CDF\x01", "UBJ",
	"\xd4\xc3\xb2\xa1", "\x0a\x0d\x0d\x0a", // pcap, pcapng
	"-----BEGIN",
}

// hasMagic looks at the first byte and behind a length of 2, 4 or 8 bytes.
func hasMagic(b []byte) bool {
	for _, m := range magics {
		if has(b, 0, m) || len(m) >= 4 && (has(b, 2, m) || has(b, 4, m) || has(b, 8, m)) {
			return true
		}
	}
	// bzip2 has a digit after its letters; MPEG-4 and HEIC have a size before.
	return len(b) > 10 && (bytes.HasPrefix(b, []byte("BZh")) && b[3] >= '1' && b[3] <= '9' || string(b[4:8]) == "ftyp")
}

func has(b []byte, at int, magic string) bool {
	return len(b) >= at+len(magic) && b[at] == magic[0] && string(b[at:at+len(magic)]) == magic
}

// isWholeMessage tells whether b is one message of a self-delimiting encoding,
// from its first byte to its last.
func isWholeMessage(b []byte) bool {
	n := len(b)
	if n >= 5 && int64(binary.LittleEndian.Uint32(b)) == int64(n) && b[n-1] == 0 {
		return true // BSON
	}
	return isCBOR(b) || isDeflate(b)
}

// isCBOR tells whether b is one well-formed data item (RFC 8949, appendix C). A
// byte string is none, tagged or not: it says nothing of what it holds.
func isCBOR(b []byte) bool {
	for len(b) > 0 && b[0]>>5 == 6 && b[0]&31 < 24 {
		b = b[1:]
	}
	if len(b) == 0 || b[0]>>5 == 2 {
		return false
	}
	rest, ok := wellFormed(b, 16)
	return ok && len(rest) == 0
}

// wellFormed takes one data item from b.
func wellFormed(b []byte, depth int) (rest []byte, ok bool) {
	if len(b) == 0 || depth == 0 {
		return nil, false
	}
	major, info := b[0]>>5, b[0]&31
	b = b[1:]
	var n uint64
	switch {
	case info < 24:
		n = uint64(info)
	case info < 28:
		size := 1 << (info - 24)
		if len(b) < size {
			return nil, false
		}
		for _, c := range b[:size] {
			n = n<<8 | uint64(c)
		}
		b = b[size:]
	case info == 31 && major >= 2 && major <= 5:
		return indefinite(b, major, depth)
	default:
		return nil, false
	}
	switch major {
	case 2, 3:
		if n > uint64(len(b)) || major == 3 && !utf8.Valid(b[:n]) {
			return nil, false
		}
		return b[n:], true
	case 4, 5, 6:
		items := n
		switch major {
		case 5:
			items = 2 * n
		case 6:
			items = 1
		}
		if major != 6 && n > uint64(len(b)) {
			return nil, false
		}
		for range items {
			if b, ok = wellFormed(b, depth-1); !ok {
				return nil, false
			}
		}
		return b, true
	case 7:
		return b, info != 24 || n >= 32
	default:
		return b, true
	}
}

// indefinite takes the items of an item of indefinite length, up to its break.
func indefinite(b []byte, major byte, depth int) (rest []byte, ok bool) {
	for items := 0; len(b) > 0; items++ {
		if b[0] == 0xff {
			return b[1:], major != 5 || items%2 == 0
		}
		if (major == 2 || major == 3) && (b[0]>>5 != major || b[0]&31 == 31) {
			return nil, false
		}
		if b, ok = wellFormed(b, depth-1); !ok {
			return nil, false
		}
	}
	return nil, false
}

func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
