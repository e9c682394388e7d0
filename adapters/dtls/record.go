package dtls

// The parts of a DTLS 1.2 record (RFC 6347, 4.1 and 4.2.2; RFC 9146, 4) that
// tell where a datagram belongs.
const (
	recordChange    byte = 20
	recordAlert     byte = 21
	recordHandshake byte = 22
	recordData      byte = 23
	recordCID       byte = 25
	recordHeader         = 13 // bytes, without a connection id
	cidOffset            = 11
	handshakeHeader      = 12
	helloClient     byte = 1
	helloServer     byte = 2
	// maxClientHello is the longest hello in bytes that begins a connection. It
	// has to come in one piece.
	maxClientHello = 1400
)

// connectionIDOf gives the connection id of a datagram's first record.
func connectionIDOf(b []byte) (id connectionID, ok bool) {
	if len(b) < cidOffset+idSize+2 || b[0] != recordCID {
		return id, false
	}
	copy(id[:], b[cidOffset:])
	return id, true
}

// nextRecord takes the first record off a datagram. A record of type 25 counts
// only where the reader gave its peer an id (hasID): pion/dtls v3.1.15 goes by the
// length of its own, and would else see another record behind the header than we.
func nextRecord(b []byte, hasID bool) (kind byte, inClear bool, rest []byte, ok bool) {
	header := recordHeader
	if len(b) > 0 && b[0] == recordCID {
		if !hasID {
			return 0, false, nil, false
		}
		header += idSize
	}
	if len(b) < header || b[1] != 0xfe { // any version of DTLS
		return 0, false, nil, false
	}
	end := header + (int(b[header-2])<<8 | int(b[header-1]))
	if len(b) < end {
		return 0, false, nil, false
	}
	return b[0], b[3] == 0 && b[4] == 0, b[end:], true
}

// encrypted tells whether a datagram is whole records, each under keys, for a
// reader with or without an id. Nothing else comes once both ends have finished
// their handshake, and pion/dtls v3.1.15 ends a connection over some of it: data of
// epoch 0, and types that it does not know, which anybody can send in another's
// name.
func encrypted(b []byte, hasID bool) bool {
	for first := true; first || len(b) > 0; first = false {
		kind, inClear, rest, ok := nextRecord(b, hasID)
		if !ok || inClear {
			return false
		}
		switch kind {
		case recordCID, recordAlert, recordHandshake, recordData:
		default:
			return false
		}
		b = rest
	}
	return true
}

// ofHandshake tells whether a datagram is whole records that a handshake may have:
// in clear only what it consists of.
func ofHandshake(b []byte, hasID bool) bool {
	for first := true; first || len(b) > 0; first = false {
		kind, inClear, rest, ok := nextRecord(b, hasID)
		if !ok || inClear && kind != recordChange && kind != recordAlert && kind != recordHandshake {
			return false
		}
		b = rest
	}
	return true
}

// isClientHello tells whether a datagram begins a handshake: one whole
// ClientHello, the first of its connection.
func isClientHello(b []byte) bool {
	if len(b) < recordHeader+handshakeHeader || len(b) > maxClientHello ||
		b[0] != recordHandshake || b[1] != 0xfe || b[3] != 0 || b[4] != 0 { // DTLS; epoch 0
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
