package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// A segment is a CBOR sequence (RFC 8742): a header, and messages as
// envelope.AppendMessage writes them, each followed by a byte string of 4 with
// its CRC-32C, so that what a stick or a power cut spoiled is told from what
// somebody forged. Segments one after another are a segment too.
//
//	header = ["fieldseal segment 1", gateway, number]
const (
	headerStart = "\x83\x73fieldseal segment 1" // array of 3, text of 19
	headerAny   = "\x83\x73fieldseal segment "  // of whatever version

	messageHead = 0x80 | messageItems
	// messageItems is how many items a message has.
	messageItems = 13
	// maxMessage bounds a message: its body, five names, and the rest.
	maxMessage = envelope.MaxBody + 5*envelope.MaxName + 256

	sumHead = 0x44 // byte string of 4
	sumSize = 5

	suffix = ".fseal"
	part   = ".part" // behind suffix, while it is written
)

// errMore is that an item ends behind what there is of it.
var errMore = errors.New("ends in the middle of a message")

// errLater is a header of a version that this program does not know.
var errLater = errors.New("is of a later version of this program")

// appendHeader begins a segment.
func appendHeader(dst []byte, gateway string, number uint64) []byte {
	dst = append(dst, headerStart...)
	dst = appendHead(dst, 3, uint64(len(gateway)))
	dst = append(dst, gateway...)
	return appendHead(dst, 0, number)
}

// appendSum appends the checksum of an item.
func appendSum(dst, item []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, sumHead), crc32.Checksum(item, crc32.MakeTable(crc32.Castagnoli)))
}

// checked gives how long the item at the beginning of b is, with its checksum,
// which is right.
func checked(b []byte) (item []byte, size int, err error) {
	n, err := sizeOf(b)
	switch {
	case err != nil:
		return nil, 0, err
	case len(b) < n+sumSize:
		return nil, 0, errMore
	case !bytes.Equal(appendSum(nil, b[:n]), b[n:n+sumSize]):
		return nil, 0, errors.New("is damaged: its checksum is wrong")
	}
	return b[:n], n + sumSize, nil
}

// appendHead appends the shortest head of a CBOR item.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	default:
		dst = append(dst, major|27)
		for shift := 56; shift >= 0; shift -= 8 {
			dst = append(dst, byte(n>>shift))
		}
		return dst
	}
}

// head reads the head of a CBOR item of which the length is definite.
func head(b []byte) (major byte, n uint64, size int, err error) {
	if len(b) == 0 {
		return 0, 0, 0, errMore
	}
	major, size = b[0]>>5, 1
	if n = uint64(b[0] & 0x1f); n < 24 {
		return major, n, size, nil
	}
	if n > 27 {
		return 0, 0, 0, errors.New("is no message: reserved head")
	}
	size += 1 << (n - 24)
	if len(b) < size {
		return 0, 0, 0, errMore
	}
	n = 0
	for _, x := range b[1:size] {
		n = n<<8 | uint64(x)
	}
	return major, n, size, nil
}

// sizeOf is how long the item at the beginning of b is: a header or a message.
// errMore says that it goes on behind b. It bounds what a reader has to hold; the
// item is judged as a whole later.
func sizeOf(b []byte) (int, error) {
	major, items, at, err := head(b)
	switch {
	case err != nil:
		return 0, err
	case major != 4 || items != 3 && items != messageItems:
		return 0, errors.New("is no message")
	}
	for range items {
		major, n, size, err := head(b[at:])
		if err != nil {
			return 0, err
		}
		at += size
		switch major {
		case 0, 1: // a number, and that is all
		case 2, 3:
			limit := uint64(envelope.MaxName)
			if major == 2 {
				limit = envelope.MaxBody
			}
			if n > limit {
				return 0, errors.New("is no message: it is too long")
			}
			if uint64(len(b)-at) < n {
				return 0, errMore
			}
			at += int(n)
		default:
			return 0, errors.New("is no message: an item of another type")
		}
	}
	return at, nil
}

// isHeader tells whether an item begins like a header.
func isHeader(b []byte) bool { return len(b) > 0 && b[0] != messageHead }

// parseHeader reads a header and nothing else.
func parseHeader(b []byte) (gateway string, number uint64, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(headerStart))
	switch {
	case !ok && bytes.HasPrefix(b, []byte(headerAny)):
		return "", 0, errLater
	case !ok:
		return "", 0, errors.New("is no segment of fieldseal")
	}
	_, n, size, err := head(rest)
	if err != nil || uint64(len(rest)-size) < n {
		return "", 0, errMore
	}
	gateway = string(rest[size : size+int(n)])
	_, number, _, err = head(rest[size+int(n):])
	if err != nil {
		return "", 0, err
	}
	if !isName(gateway) || !bytes.Equal(appendHeader(nil, gateway, number), b) {
		return "", 0, errors.New("has a header that is none")
	}
	return gateway, number, nil
}

// isName tells whether a text can be a gateway's name: lower case, digits, dashes.
func isName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-')
	})
}

// fileName is that of a finished segment.
func fileName(gateway string, number uint64) string {
	return fmt.Sprintf("%s-%08d%s", gateway, number, suffix)
}

// parseName takes the name of a segment's file apart.
func parseName(name string) (gateway string, number uint64, live, ok bool) {
	name, live = strings.CutSuffix(name, part)
	name, ok = strings.CutSuffix(name, suffix)
	k := strings.LastIndexByte(name, '-')
	if !ok || k < 1 {
		return "", 0, false, false
	}
	number, err := strconv.ParseUint(name[k+1:], 10, 64)
	if err != nil || fileName(name[:k], number) != name+suffix {
		return "", 0, false, false
	}
	return name[:k], number, live, true
}

// scan reads items one by one and bounds what is held of them.
type scan struct {
	r      io.Reader
	buf    []byte
	from   int   // in buf: what is not given yet
	offset int64 // of buf[from] in the input
	end    error // of the input
}

func newScan(r io.Reader) *scan { return &scan{r: r, buf: make([]byte, 0, 2*maxMessage)} }

// next gives the next item, valid until the call after, and where it is. io.EOF:
// the input ends behind a whole item. errMore: it ends in the middle of one.
func (s *scan) next() (item []byte, at int64, err error) {
	for {
		item, n, err := checked(s.buf[s.from:])
		if err == nil {
			at = s.offset
			s.from += n
			s.offset += int64(n)
			return item, at, nil
		}
		if !errors.Is(err, errMore) {
			return nil, s.offset, err
		}
		if s.end != nil {
			if errors.Is(s.end, io.EOF) && s.from < len(s.buf) {
				return nil, s.offset, errMore
			}
			return nil, s.offset, s.end
		}
		if len(s.buf)-s.from > maxMessage {
			return nil, s.offset, errors.New("is no message: it is too long")
		}
		s.fill()
	}
}

// skip steps over what next could not give, to the next whole item whose
// checksum is right. Without one it steps to the end, and gives false.
func (s *scan) skip() bool {
	for s.step(); ; s.step() {
		for {
			rest := s.buf[s.from:]
			if len(rest) > 0 && rest[0] != messageHead && rest[0] != headerStart[0] {
				break
			}
			_, _, err := checked(rest)
			if err == nil {
				return true
			}
			if !errors.Is(err, errMore) || len(rest) > maxMessage || s.end != nil && len(rest) > 0 {
				break
			}
			if s.end != nil {
				return false
			}
			s.fill()
		}
	}
}

func (s *scan) step() {
	if s.from < len(s.buf) {
		s.from++
		s.offset++
	}
}

// fill reads some more.
func (s *scan) fill() {
	if s.from > 0 {
		s.buf = append(s.buf[:0], s.buf[s.from:]...)
		s.from = 0
	}
	n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	if n == 0 {
		s.end = err
	}
}
