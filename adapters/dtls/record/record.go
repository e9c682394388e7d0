// Package record reads of a DTLS 1.2 datagram what tells where it belongs, before
// anything is decrypted: the heads of its records (RFC 6347, 4.1 and 4.2.2;
// RFC 9146, 4). A listener keeps from pion/dtls what that would end a session over.
package record

// The types of records.
const (
	Change    byte = 20
	Alert     byte = 21
	Handshake byte = 22
	Data      byte = 23
	CID       byte = 25 // one with a connection id
)

const (
	// IDSize is how many bytes a connection id that we give has.
	IDSize = 8
	// Header is how many bytes the head of a record has, without a connection id.
	Header = 13

	idOffset        = 11
	handshakeHeader = 12
	// maxClientHello is the longest hello in bytes that begins a session. It has to
	// come in one piece.
	maxClientHello = 1400
)

// HelloClient is the first byte of a ClientHello.
const HelloClient byte = 1

const helloServer byte = 2

// ID is a connection id that we gave.
type ID [IDSize]byte

// IDOf gives the connection id of a datagram's first record.
func IDOf(b []byte) (id ID, ok bool) {
	if len(b) < idOffset+IDSize+2 || b[0] != CID {
		return id, false
	}
	copy(id[:], b[idOffset:])
	return id, true
}

// First gives the type and the epoch of a datagram's first record.
func First(b []byte) (kind byte, epoch uint16, ok bool) {
	if len(b) < Header || b[1] != 0xfe { // any version of DTLS
		return 0, 0, false
	}
	return b[0], uint16(b[3])<<8 | uint16(b[4]), true
}

// InClear are the types that a datagram may have records of that are not
// encrypted.
type InClear uint32

// What may come in clear.
const (
	Nothing InClear = 0
	// LastFlight is what the last flight of a client consists of.
	LastFlight InClear = 1<<Handshake | 1<<Change
	// AnyFlight is what a handshake does.
	AnyFlight = LastFlight | 1<<Alert
)

// known are the types that come encrypted.
const known = 1<<Alert | 1<<Handshake | 1<<Data | 1<<CID

// Fits tells whether a datagram is whole records, one at least, each of a type that
// there is and encrypted, or of one that may be in clear. pion/dtls v3.1.15 ends a
// session over data of epoch 0 and types that it does not know, which anybody can
// send in another's name. A record of type 25 counts only where the reader gave its
// peer an id (hasID): the library goes by the length of its own, and would else see
// another record behind the header than we.
func Fits(b []byte, hasID bool, may InClear) bool {
	for first := true; first || len(b) > 0; first = false {
		kind, epoch, ok := First(b)
		header := Header
		if kind == CID {
			header += IDSize
		}
		if !ok || len(b) < header || kind == CID && !hasID {
			return false
		}
		allowed := InClear(known)
		if epoch == 0 {
			allowed = may
		}
		if allowed>>kind&1 == 0 {
			return false
		}
		end := header + (int(b[header-2])<<8 | int(b[header-1]))
		if len(b) < end {
			return false
		}
		b = b[end:]
	}
	return true
}

// IsClientHello tells whether a datagram begins a handshake: one whole
// ClientHello, the first of its connection.
func IsClientHello(b []byte) bool {
	kind, epoch, ok := First(b)
	if !ok || kind != Handshake || epoch != 0 || len(b) < Header+handshakeHeader || len(b) > maxClientHello {
		return false
	}
	length := int(b[11])<<8 | int(b[12])
	h := b[Header:]
	total := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	offset := int(h[6])<<16 | int(h[7])<<8 | int(h[8])
	fragment := int(h[9])<<16 | int(h[10])<<8 | int(h[11])
	return length <= len(b)-Header && h[0] == HelloClient &&
		h[4] == 0 && h[5] == 0 && // message 0
		offset == 0 && fragment == total && total+handshakeHeader == length
}

// IsServerHello tells whether a datagram that goes out has the answer to a hello
// whose cookie was right.
func IsServerHello(b []byte) bool {
	return len(b) > Header && b[0] == Handshake && b[Header] == helloServer
}
