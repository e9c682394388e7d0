package coap

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	// fullWait is how long a device waits for a full outbox before it is told: less
	// than it takes to send again (RFC 7252, 4.8).
	fullWait = time.Second
	// The times after which a device may try again, in seconds.
	fullAge, limitAge = 30, 5
)

// session is one DTLS session with a device. One goroutine serves it.
type session struct {
	machine *machine
	conn    *dtls.Conn
	path    *path
	suite   string
	since   time.Time
	now     func() time.Time

	seen      seen
	transfers transfers
	number    uint16 // of our messages that acknowledge nothing
}

// serve answers the device until the session ends, and says why it did.
func (s *session) serve(ctx context.Context) (why string) {
	buf := make([]byte, maxDatagram)
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.machine.silence()))
		n, err := s.conn.Read(buf)
		if err != nil {
			return ended(err)
		}
		s.path.confirmed.Store(true)
		if out := s.handle(ctx, buf[:n]); out != nil {
			if _, err := s.conn.Write(out); err != nil {
				return ended(err)
			}
		}
	}
}

// ended says why a session did.
func ended(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return silent
	case errors.Is(err, net.ErrClosed), errors.Is(err, dtls.ErrConnClosed):
		return "the session was closed"
	}
	return "the device ended the session"
}

// handle takes one datagram and gives the answer; none where it is not answered.
func (s *session) handle(ctx context.Context, b []byte) []byte {
	r, bad, is := parse(b)
	switch is {
	case senseless:
		s.machine.counters.senseless.Add(1)
		return nil
	case rejected:
		if r.method != codes.Empty {
			s.machine.counters.senseless.Add(1)
		}
		return reset(r.id)
	}
	now := s.now()
	a, again := s.seen.again(r.id, now)
	if again {
		s.machine.counters.repeats.Add(1)
	} else {
		a = s.decide(ctx, &r, bad, now)
	}
	if r.kind == message.NonConfirmable {
		if a.code == codes.BadOption {
			return reset(r.id) // RFC 7252, 5.4.1
		}
		s.number++
	}
	return a.encode(&r, s.number)
}

// decide takes a message that did not come before.
func (s *session) decide(ctx context.Context, r *request, bad answer, now time.Time) (a answer) {
	c := &s.machine.counters
	room := s.seen.room(now)
	if !room || !s.machine.allows(now) {
		c.limited.Add(1)
		a = answer{code: tooMany, maxAge: limitAge, why: "the device sends too much"}
	} else if a = bad; a.code == 0 {
		a = s.request(ctx, r, now)
	}
	if room {
		s.seen.note(r.id, now, a)
	}
	switch {
	case a.code == codes.ServiceUnavailable:
		c.full.Add(1)
	case a.code>>5 >= 4:
		c.refused.Add(1)
	}
	return a
}

// request does what a request asks for.
func (s *session) request(ctx context.Context, r *request, now time.Time) answer {
	index, ok := s.machine.paths[r.path]
	if !ok {
		return answer{code: codes.NotFound, why: "there is no such point"}
	}
	p := &s.machine.spec.Points[index]
	switch {
	case r.method != codes.POST && r.method != codes.PUT:
		return answer{code: codes.MethodNotAllowed, why: "POST or PUT it"}
	case !p.accepts(r.format):
		return answer{code: codes.UnsupportedMediaType, why: "the point is not of this content format"}
	case int64(r.size) > int64(p.bytes()), len(r.payload) > p.bytes():
		return tooLarge(p.bytes())
	}
	payload, done := r.payload, answer{code: codes.Changed}
	if r.blocked {
		var a answer
		if payload, a = s.transfers.take(r, index, p.bytes(), now); payload == nil {
			return a
		}
		done.block, done.blocked = r.block, true
	}
	if len(payload) == 0 {
		return answer{code: codes.BadRequest, why: "there is no payload"}
	}
	wait, cancel := context.WithTimeout(ctx, fullWait)
	defer cancel()
	if s.machine.take(wait, point.Sample{Point: index, Time: now.UnixNano(), Value: point.OfBytes(payload)}) != nil {
		return answer{code: codes.ServiceUnavailable, maxAge: fullAge, why: "the gateway's outbox is full"}
	}
	s.machine.counters.samples.Add(1)
	return done
}

// The content formats of what is encrypted (RFC 9052, 2; RFC 7252, 12.3).
const (
	formatOctets   = 42
	formatEncrypt0 = 16
	formatSign1    = 18 // around one of the others
	formatEncrypt  = 96
)

// accepts tells whether a payload of a content format can be what the point is
// declared as. Whether it is what it says, the ciphertext guard finds out.
func (p *Point) accepts(format int) bool {
	switch format {
	case formatNone, formatOctets:
		return true
	case formatEncrypt0, formatEncrypt, formatSign1:
		return p.Passthrough == "cose"
	}
	return false
}
