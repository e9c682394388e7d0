package opcua

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gopcua/opcua/uacp"
)

// What the library is given to read, whatever the server announces.
const (
	maxChunk   = 65535
	minChunk   = 8192 // OPC 10000-6, 7.1.2.3
	maxMessage = 8 << 20
	maxChunks  = 1024
)

// gate stands between the library and the network, and looks at the headers that
// travel unencrypted. It is there for what gopcua v0.9.0 gets wrong:
//
//   - The header of an OpenSecureChannel answer overrides the configured security
//     policy and server certificate, on each renewal too. Somebody on the way can
//     thereby turn encryption off, present a certificate of his own, and is then
//     sent the password under his key. The gate ends a connection whose server
//     names another policy or certificate than the ones that were pinned.
//   - The buffer size that the server announces for its own reading is taken for
//     the size of what it sends, and allocated anew for each chunk.
//   - A reset connection is not taken for closed, and what a server says before
//     it closes one is dropped.
//   - Keys are renewed as often as the server says, without a pause between.
//   - Chunks of one message are put together as they come, whatever their numbers.
//     The gate ends a connection over which a chunk comes twice. It cannot see one
//     that is missing or out of turn, because their numbers are encrypted: so what
//     is asked for is such that each answer is one chunk.
//
// The library insists on a TCP connection of its own, so the gate is a loopback
// one.
type gate struct {
	policy string // URI
	cert   []byte // DER of the server's certificate; nil with the policy None
	outer  net.Conn
	inner  *net.TCPConn // the gate's end of the loopback connection
	done   sync.WaitGroup

	// Owned by pass.
	renewal time.Duration // at least, between two OpenSecureChannel answers
	opened  time.Time     // the last one
	chunks  map[[32]byte]bool
	order   [][32]byte // of chunks

	gone chan struct{} // closed when the connection ended

	mu  sync.Mutex
	why error // that ended the connection first
}

var errGate = errors.New("cannot make a loopback connection")

// openGate connects to the server and gives the connection that the library
// uses in its place.
func openGate(ctx context.Context, address, policy string, cert []byte, renewal time.Duration) (*gate, *net.TCPConn, error) {
	var d net.Dialer
	outer, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	near, far, err := loopback(ctx)
	if err != nil {
		_ = outer.Close()
		return nil, nil, err
	}
	g := &gate{policy: policy, cert: cert, outer: outer, inner: far, renewal: renewal, gone: make(chan struct{})}
	g.done.Go(func() {
		_, err := io.Copy(outer, far)
		g.end(err)
	})
	g.done.Go(func() { g.end(g.pass()) })
	return g, near, nil
}

// loopback gives both ends of a TCP connection that nobody else is at.
func loopback(ctx context.Context) (near, far *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errGate, err)
	}
	defer l.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errGate, err)
	}
	near, _ = c.(*net.TCPConn)
	_ = l.SetDeadline(time.Now().Add(time.Second))
	for {
		far, err = l.AcceptTCP()
		if err != nil {
			_ = near.Close()
			return nil, nil, fmt.Errorf("%w: %w", errGate, err)
		}
		if far.RemoteAddr().String() == near.LocalAddr().String() {
			return near, far, nil
		}
		_ = far.Close() // another process was quicker
	}
}

// end closes both connections and keeps the first reason.
func (g *gate) end(err error) {
	g.mu.Lock()
	if g.why == nil {
		g.why = err
		if err == nil {
			g.why = io.EOF
		}
		close(g.gone)
	}
	g.mu.Unlock()
	_ = g.outer.Close()
	_ = g.inner.Close()
}

// close ends the connection and waits.
func (g *gate) close() {
	g.end(nil)
	g.done.Wait()
}

// reason is why the connection ended; nil while it lasts.
func (g *gate) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// pass forwards the server's chunks as long as they are what they have to be.
func (g *gate) pass() error {
	in := bufio.NewReaderSize(g.outer, maxChunk)
	for {
		header, err := in.Peek(8)
		if err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(header[4:])
		if size < 8 || size > maxChunk {
			return fmt.Errorf("the server sent a chunk of %d bytes, and at most %d were agreed on", size, maxChunk)
		}
		chunk, err := in.Peek(int(size))
		if err != nil {
			return err
		}
		if err := g.judge(chunk); err != nil {
			return err
		}
		if _, err := g.inner.Write(chunk); err != nil {
			return err
		}
		_, _ = in.Discard(len(chunk)) // is in the buffer
	}
}

// judge looks at one chunk, and corrects an acknowledge message.
func (g *gate) judge(chunk []byte) error {
	switch string(chunk[:3]) {
	case "OPN":
		if err := g.judgeRenewal(time.Now()); err != nil {
			return err
		}
		return g.judgeOpen(chunk[8:])
	case "MSG":
		return g.judgeRepeat(chunk)
	case "ERR":
		if len(chunk) >= 12 {
			// Nothing comes after it. Some servers wrap it up like an OPN, and then
			// this is no code of an error.
			return &uacp.Error{ErrorCode: binary.LittleEndian.Uint32(chunk[8:])}
		}
	case "ACK":
		if len(chunk) != 28 {
			return errors.New("the server's acknowledge message is malformed")
		}
		reads, sends := binary.LittleEndian.Uint32(chunk[12:]), binary.LittleEndian.Uint32(chunk[16:])
		if reads < minChunk || sends < minChunk {
			return errors.New("the server announces a buffer below 8192 bytes")
		}
		// The library takes the first for what it will receive, and the others
		// for limits of what it may receive.
		binary.LittleEndian.PutUint32(chunk[12:], min(sends, maxChunk))
		binary.LittleEndian.PutUint32(chunk[16:], min(reads, maxChunk))
		binary.LittleEndian.PutUint32(chunk[20:], maxMessage)
		binary.LittleEndian.PutUint32(chunk[24:], maxChunks)
	}
	return nil
}

// judgeRenewal looks at how long the keys live that the server gives out.
func (g *gate) judgeRenewal(now time.Time) error {
	last := g.opened
	g.opened = now
	if !last.IsZero() && now.Sub(last) < g.renewal {
		return &refusal{what: fmt.Sprintf("the server's keys live so short that they are renewed within %v; give security tokens a lifetime of at least %v there, better an hour", g.renewal, minToken)}
	}
	return nil
}

// minToken is the shortest life of a channel's keys that is accepted.
const minToken = 10 * time.Second

// judgeRepeat looks for a chunk that came before. Each has its own number, so two
// are never alike unless somebody on the way repeats one, in the place of another.
func (g *gate) judgeRepeat(chunk []byte) error {
	if chunk[3] != 'C' {
		return nil // the last one, or the only one: the library knows that its message is complete
	}
	sum := sha256.Sum256(chunk)
	if g.chunks[sum] {
		return errors.New("somebody between us and the server, or the server itself, sent a part of a message twice")
	}
	if g.chunks == nil {
		g.chunks = map[[32]byte]bool{}
	}
	if len(g.order) == 2*maxChunks {
		delete(g.chunks, g.order[0])
		g.order = g.order[1:]
	}
	g.chunks[sum] = true
	g.order = append(g.order, sum)
	return nil
}

// judgeOpen looks at the header of an OpenSecureChannel answer (OPC 10000-6,
// 6.7.2.3).
func (g *gate) judgeOpen(b []byte) error {
	malformed := errors.New("the header of the server's OpenSecureChannel answer is malformed")
	if len(b) < 4 {
		return malformed
	}
	b = b[4:] // number of the channel
	field := func() (f []byte, ok bool) {
		if len(b) < 4 {
			return nil, false
		}
		n := int32(binary.LittleEndian.Uint32(b))
		b = b[4:]
		if n < 0 {
			return nil, n == -1
		}
		if int(n) > len(b) {
			return nil, false
		}
		f, b = b[:n], b[n:]
		return f, true
	}
	policy, ok := field()
	cert, ok2 := field()
	if !ok || !ok2 {
		return malformed
	}
	if string(policy) != g.policy {
		return errors.New("somebody between us and the server, or the server itself, answered with another security policy than the one asked for")
	}
	if leaf := leaf(cert); g.cert != nil && (leaf == nil || !bytes.Equal(leaf, g.cert)) {
		return errors.New("somebody between us and the server, or the server itself, answered with another certificate than the pinned one")
	}
	return nil
}

// leaf gives the first certificate of a chain in DER.
func leaf(chain []byte) []byte {
	certs, err := x509.ParseCertificates(chain)
	if err != nil || len(certs) == 0 {
		return nil
	}
	return certs[0].Raw
}
