package dtls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/sctp"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	// foreignStreams is how many streams besides ours a gateway may open before
	// it is shown out: reading them costs a goroutine each.
	foreignStreams = 8
	// farewell is for how long the hub's last word may take to be acknowledged.
	farewell = 2 * time.Second
)

// Unreadable is the error of [Peer.Receive] for a frame in order around a
// message that cannot be read: refuse it, and go on.
type Unreadable = unreadable

// Peer is a gateway at a hub. Receive is called by one goroutine; the other
// methods may be called concurrently with it and with each other.
type Peer struct {
	path        *path
	association *sctp.Association
	messages    *sctp.Stream
	words       *sctp.Stream
	chain       []*x509.Certificate
	hello       Hello
	background  sync.WaitGroup
	foreign     atomic.Uint64
	bytes       atomic.Uint64

	// Owned by Receive.
	next   uint64
	buffer []byte
}

// Hello gives what the gateway said of itself. The name in it is a claim; see
// [Peer.Certificates].
func (p *Peer) Hello() Hello { return p.hello }

// Certificates gives the verified chain of the gateway, leaf first.
func (p *Peer) Certificates() []*x509.Certificate { return p.chain }

// Remote gives the address that the gateway had when it connected.
func (p *Peer) Remote() string { return p.path.from.String() }

// Host gives the same without the port.
func (p *Peer) Host() string { return p.path.from.Addr().Unmap().String() }

// Bytes counts the bytes of frames that arrived.
func (p *Peer) Bytes() uint64 { return p.bytes.Load() }

// Received counts all bytes that came from the gateway, SCTP's own too: it grows
// while there is somebody.
func (p *Peer) Received() uint64 { return p.association.BytesReceived() }

// Foreign counts the streams that are none of this protocol.
func (p *Peer) Foreign() uint64 { return p.foreign.Load() }

// Receive waits for the next message. The message is the caller's. An error of
// type *Unreadable concerns this message only, which has the number given; every
// other ends the connection.
func (p *Peer) Receive() (number uint64, m envelope.Message, err error) {
	if p.buffer == nil {
		p.buffer = make([]byte, MaxFrame)
	}
	n, err := p.messages.Read(p.buffer)
	if err != nil {
		return 0, m, p.broken(fmt.Errorf("cannot receive: %w", err))
	}
	p.bytes.Add(uint64(n))
	number, m, err = parseFrame(append([]byte(nil), p.buffer[:n]...))
	var u *Unreadable
	if err != nil && !errors.As(err, &u) {
		return 0, m, p.broken(err)
	}
	if number != p.next {
		return 0, envelope.Message{}, p.broken(fmt.Errorf("message %d instead of %d: %w", number, p.next, errFrame))
	}
	p.next++
	return number, m, err
}

// broken closes the connection.
func (p *Peer) broken(err error) error {
	p.closeNow()
	return err
}

// Welcome answers the hello. It is the first word.
func (p *Peer) Welcome(w Welcome) error { return p.say(word{welcome: w}) }

// Stored says that all messages up to number are stored durably, or refused.
func (p *Peer) Stored(number uint64) error { return p.say(word{kind: wordStored, number: number}) }

// Refuse says that one message can never be accepted. All before it must have
// been told stored or refused.
func (p *Peer) Refuse(number uint64, reason string) error {
	return p.say(word{kind: wordRefused, number: number, text: reason})
}

// Fault says that nothing is accepted before a configuration changes. Close
// after it.
func (p *Peer) Fault(what, instead string) error {
	return p.say(word{kind: wordFault, text: what, instead: instead})
}

// Busy says that the hub is there, and why it stores nothing right now.
func (p *Peer) Busy(reason string) error { return p.say(word{kind: wordBusy, text: reason}) }

func (p *Peer) say(w word) error {
	if p.words.BufferedAmount() > maxPeerWords {
		return p.broken(errors.New("the gateway does not acknowledge what it is told"))
	}
	if _, err := p.words.Write(appendWord(make([]byte, 0, 64), w)); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return nil
}

// Close lets the last words arrive, for at most 2 s, and ends the connection.
func (p *Peer) Close() error {
	if p.words.BufferedAmount() > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		_ = p.association.Shutdown(ctx) // SCTP's own way: it waits for what is under way
		cancel()
	}
	p.closeNow()
	p.background.Wait()
	return nil
}

func (p *Peer) closeNow() {
	_ = p.association.Close()
	_ = p.path.Close()
}

// ignore reads what comes on other streams, so that it takes no room, until the
// association ends. Stream ids are the gateway's to choose.
func (p *Peer) ignore() {
	for {
		s, err := p.association.AcceptStream()
		if err != nil {
			return
		}
		if s == p.messages || s == p.words {
			continue // a frame came before we had opened it ourselves
		}
		if p.foreign.Add(1) > foreignStreams {
			_ = p.path.Close() // ends the association, and this loop
			continue
		}
		p.background.Go(func() {
			b := make([]byte, 4<<10)
			for {
				if _, err := s.Read(b); err != nil {
					if errors.Is(err, net.ErrClosed) {
						return
					}
					// A message longer than b would stay, and fill the buffer for ever.
					_ = p.path.Close()
					return
				}
			}
		})
	}
}
