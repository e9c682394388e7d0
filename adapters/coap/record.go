package coap

// The parts of a DTLS 1.2 record (RFC 6347, 4.1 and 4.2.2; RFC 9146, 4) that
// tell where a datagram belongs.
const (
	recordChange    byte = 20
	recordAlert     byte = 21
	recordHandshake byte = 22
	recordData      byte = 23
	recordCID       byte = 25

	recordHeader    = 13 // bytes, without a connection id
	cidOffset       = 11
	idSize          = 8 // bytes of a connection id
	handshakeHeader = 12
	helloClient     = 1
	helloServer     = 2
	// maxClientHello is the longest hello in bytes that begins a session. It has to
	// come in one piece.
	maxClientHello = 1400
)

type connectionID [idSize]byte

// connectionIDOf gives the connection id of a datagram's first record.
func connectionIDOf(b []byte) (id connectionID, ok bool) {
	if len(b) < cidOffset+idSize+2 || b[0] != recordCID {
		return id, false
	}
	copy(id[:], b[cidOffset:])
	return id, true
}

// epochOf gives the type and the epoch of a datagram's first record.
func epochOf(b []byte) (kind byte, epoch uint16, ok bool) {
	if len(b) < recordHeader || b[1] != 0xfe { // any version of DTLS
		return 0, 0, false
	}
	return b[0], uint16(b[3])<<8 | uint16(b[4]), true
}

// inClear are the types that a datagram may have records of that are not
// encrypted.
type inClear uint32

const (
	nothing inClear = 0
	// flight is what the last flight of a device consists of.
	flight = 1<<recordHandshake | 1<<recordChange
	// anyFlight is what a handshake does.
	anyFlight = flight | 1<<recordAlert
)

// fits tells whether a datagram is whole records, each encrypted or of a type that
// may be in clear. The library ends a session over some of what is neither. A
// record of type 25 counts only where the device got an id from us (hasID): the
// library goes by the length of its own, and would else see another record behind
// the header than we.
func fits(b []byte, hasID bool, may inClear) bool {
	for len(b) > 0 {
		kind, epoch, ok := epochOf(b)
		header := recordHeader
		if kind == recordCID {
			header += idSize
		}
		if !ok || len(b) < header || kind == recordCID && !hasID || epoch == 0 && may>>kind&1 == 0 {
			return false
		}
		length := int(b[header-2])<<8 | int(b[header-1])
		if len(b) < header+length {
			return false
		}
		b = b[header+length:]
	}
	return true
}

// isClientHello tells whether a datagram begins a handshake: one whole
// ClientHello, the first of its connection.
func isClientHello(b []byte) bool {
	kind, epoch, ok := epochOf(b)
	if !ok || kind != recordHandshake || epoch != 0 || len(b) < recordHeader+handshakeHeader || len(b) > maxClientHello {
		return false
	}
	length := int(b[11])<<8 | int(b[12])
	h := b[recordHeader:]
	total := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	offset := int(h[6])<<16 | int(h[7])<<8 | int(h[8])
	fragment := int(h[9])<<16 | int(h[10])<<8 | int(h[11])
	return length <= len(b)-recordHeader && h[0] == helloClient &&
		h[4] == 0 && h[5] == 0 && // message 0
		offset == 0 && fragment == total && total+handshakeHeader == length
}

// isServerHello tells whether a datagram that goes out has the answer to a hello
// whose cookie was right.
func isServerHello(b []byte) bool {
	return len(b) > recordHeader && b[0] == recordHandshake && b[recordHeader] == helloServer
}
