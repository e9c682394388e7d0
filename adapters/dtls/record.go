package dtls

// The parts of a DTLS 1.2 record (RFC 6347, 4.1 and 4.2.2; RFC 9146, 4) that
// tell where a datagram belongs.
const (
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

// encrypted tells whether a datagram is whole records, each under keys. Nothing
// else comes once both ends have finished their handshake, and pion/dtls v3.1.15
// ends a connection over some of it: data of epoch 0, and types that it does not
// know, which anybody can send in another's name.
func encrypted(b []byte) bool {
	for first := true; first || len(b) > 0; first = false {
		if len(b) < recordHeader || b[1] != 0xfe || b[3] == 0 && b[4] == 0 {
			return false
		}
		header := recordHeader
		switch b[0] {
		case recordCID:
			header += idSize
		case recordAlert, recordHandshake, recordData:
		default:
			return false
		}
		if len(b) < header {
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
