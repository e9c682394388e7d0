package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Hostility is what a hostile OPC UA server answers to the first question, which
// every client asks before it knows who is there.
type Hostility byte

// The answers.
const (
	HugeArray      Hostility = iota // announces 2^31-1 endpoints
	NestedVariants                  // 2 MB of values within values
)

// HostileOPCUA is an OPC UA server that wants its clients dead. It knows just
// enough of the protocol for that.
type HostileOPCUA struct {
	how      Hostility
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	shots int
}

// StartHostileOPCUA starts one on a free port of the loopback interface.
func StartHostileOPCUA(how Hostility) (*HostileOPCUA, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start simulator: %w", err)
	}
	h := &HostileOPCUA{how: how, listener: l, conns: map[net.Conn]struct{}{}}
	h.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns[c] = struct{}{}
			h.mu.Unlock()
			h.wg.Go(func() { h.serve(c) })
		}
	})
	return h, nil
}

// Endpoint is what a mapping file connects to.
func (h *HostileOPCUA) Endpoint() string { return "opc.tcp://" + h.listener.Addr().String() }

// Shots is how often the answer was sent.
func (h *HostileOPCUA) Shots() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shots
}

// Stop ends it.
func (h *HostileOPCUA) Stop() {
	_ = h.listener.Close()
	h.mu.Lock()
	for c := range h.conns {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

func (h *HostileOPCUA) serve(c net.Conn) {
	defer c.Close()
	for sequence := uint32(1); ; {
		var header [8]byte
		if _, err := io.ReadFull(c, header[:]); err != nil {
			return
		}
		rest := make([]byte, binary.LittleEndian.Uint32(header[4:])-8)
		if _, err := io.ReadFull(c, rest); err != nil {
			return
		}
		var err error
		switch string(header[:3]) {
		case "HEL":
			err = send(c, "ACKF", le32(0, 65535, 65535, 0, 0))
		case "OPN":
			const none = "http://opcfoundation.org/UA/SecurityPolicy#None"
			security := append(le32(1, uint32(len(none))), none...)
			security = append(security, le32(0xFFFFFFFF, 0xFFFFFFFF)...)
			body := append(responseHeader(449, nil), le32(0, 1, 1)...)
			body = binary.LittleEndian.AppendUint64(body, uint64(time.Now().UnixNano()/100+116_444_736_000_000_000))
			body = append(body, le32(3_600_000, 0xFFFFFFFF)...)
			err = send(c, "OPNF", append(append(security, le32(sequence, requestOf(rest, true))...), body...))
			sequence++
		case "MSG":
			err = h.shoot(c, sequence, requestOf(rest, false))
			h.mu.Lock()
			h.shots++
			h.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// requestOf finds the number of a request.
func requestOf(rest []byte, opening bool) uint32 {
	at := 8 // channel and token
	if opening {
		at = 4
		for range 3 {
			if n := binary.LittleEndian.Uint32(rest[at:]); n != 0xFFFFFFFF {
				at += int(n)
			}
			at += 4
		}
	}
	return binary.LittleEndian.Uint32(rest[at+4:])
}

// shoot sends the answer, in chunks.
func (h *HostileOPCUA) shoot(c net.Conn, sequence, request uint32) error {
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	var body []byte
	if h.how == HugeArray {
		body = append(responseHeader(431, nil), le32(0x7FFFFFFF)...)
	} else {
		nested := append(le32(1, 7), 1) // one notification, its handle, a value with nothing but a variant
		for range 2_000_000 {
			nested = append(nested, 0x18)
		}
		body = responseHeader(431, nested)
	}
	for {
		part := body[:min(len(body), 60_000)]
		body = body[len(part):]
		kind := "MSGC"
		if len(body) == 0 {
			kind = "MSGF"
		}
		if err := send(c, kind, append(le32(1, 1, sequence, request), part...)); err != nil {
			return err
		}
		sequence++
		if len(body) == 0 {
			return nil
		}
	}
}

// responseHeader begins an answer of that type. nested is the body of a
// DataChangeNotification as the additional header.
func responseHeader(typeID uint16, nested []byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{1, 0}, typeID)
	b = binary.LittleEndian.AppendUint64(b, 133_000_000_000_000_000)
	b = append(b, le32(1, 0)...) // handle, good
	b = append(b, 0)             // no diagnostics
	b = append(b, le32(0xFFFFFFFF)...)
	if nested == nil {
		return append(b, 0, 0, 0)
	}
	b = append(b, 1, 0, 0x2B, 0x03, 1) // i=811, as bytes
	return append(append(b, le32(uint32(len(nested)))...), nested...)
}

func send(c net.Conn, kind string, body []byte) error {
	_, err := c.Write(append(append([]byte(kind), le32(uint32(len(body)+8))...), body...))
	return err
}

func le32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
