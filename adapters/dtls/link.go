package dtls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/sctp"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	// silence is for how long nothing at all, not even SCTP's own
	// acknowledgements, may come from a hub that owes an answer; at least five
	// round trips.
	silence = 2500 * time.Millisecond
	// speechless is for how long a hub that has received everything may say
	// nothing of it. A hub that cannot store says so every second.
	speechless = 5 * time.Second
	lookEvery  = 250 * time.Millisecond
	// memory is how many messages that are stored a link remembers, so that a Send
	// that repeats them does not send them again.
	memory = 512
)

// link is a connection that can send.
type link struct {
	server      string
	association *sctp.Association
	out, in     *sctp.Stream
	welcome     Welcome
	roundTrip   time.Duration // of the handshake
	closing     sync.Once
	gone        chan struct{} // closed when the connection has ended
	moved       chan struct{} // something of what the mutex guards has changed

	mu      sync.Mutex        // guards what follows
	acked   uint64            // all up to it are stored or refused
	next    uint64            // number of the next message to send
	refused map[uint64]string // why, of those that no Send has reported
	fault   *envelope.Fault
	busy    string // why the hub stores nothing, in its words; empty once it does
	spoke   time.Time
	why     error // set before gone is closed

	// Owned by send.
	base    uint64  // number of sent[0]
	sent    []entry // under way, and those of the stored that are remembered
	bytes   uint64  // of the frames under way
	freed   uint64  // up to which number they are taken off again
	frame   []byte
	heard   uint64 // bytes received when it was looked at last
	heardAt time.Time
}

// entry is a message that was sent.
type entry struct {
	id    [16]byte
	bytes int
}

func (l *link) ended() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// unacknowledged gives the number of the first message that is.
func (l *link) unacknowledged() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked + 1
}

// close ends the connection for a reason.
func (l *link) close(why error) {
	l.closing.Do(func() {
		l.mu.Lock()
		l.why = why
		l.mu.Unlock()
		close(l.gone)
		_ = l.association.Close()
	})
}

// read takes what the hub says, until the connection ends.
func (l *link) read() {
	b := make([]byte, maxWord)
	for {
		n, err := l.in.Read(b)
		if err != nil {
			l.close(fmt.Errorf("connection to %s lost: %w", l.server, err))
			return
		}
		w, err := parseWord(b[:n])
		if err == nil {
			err = l.take(w)
		}
		if err != nil {
			l.close(fmt.Errorf("%s is no hub that can be trusted to count: %w", l.server, err))
			return
		}
		select {
		case l.moved <- struct{}{}:
		default:
		}
	}
}

// take notes one word.
func (l *link) take(w word) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spoke = time.Now()
	switch w.kind {
	case wordStored, wordRefused:
		// A number that was never sent would mark messages stored that are not.
		if w.number >= l.next || w.kind == wordRefused && w.number <= l.acked {
			return fmt.Errorf("message %d of %d to %d: %w", w.number, l.acked+1, l.next-1, errFrame)
		}
		l.acked, l.busy = max(l.acked, w.number), ""
		if w.kind == wordRefused {
			l.refused[w.number] = w.text
		}
	case wordFault:
		l.fault = hubFault(w)
	case wordBusy:
		l.busy = w.text
	case 0:
		return fmt.Errorf("a second welcome: %w", errFrame)
	}
	return nil
}

// send is Uplink.Send on this connection.
func (l *link) send(ctx context.Context, batch []envelope.Message, idle *time.Timer) (int, error) {
	base := l.adopt(batch)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for stored := 0; ; {
		refused := l.fill(batch, base)
		n, err := l.standing(base, len(batch))
		if n > stored {
			stored = n
			idle.Reset(patience)
		}
		if n == len(batch) || err != nil {
			return n, l.afterFault(err)
		}
		if refused != nil && base+uint64(n) == l.upTo() {
			return n, refused
		}
		select {
		case <-l.moved:
		case <-l.gone:
			// What was said before the end counts.
			if n, err = l.standing(base, len(batch)); n == len(batch) || err != nil {
				return n, l.afterFault(err)
			}
			return n, l.reason()
		case <-look.C:
			if err := l.alive(time.Now()); err != nil {
				l.close(err)
			}
		case <-idle.C:
			return n, l.unanswered()
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}

// afterFault closes the connection after a fault, so that the next attempt asks
// the hub again.
func (l *link) afterFault(err error) error {
	var f *envelope.Fault
	if errors.As(err, &f) {
		l.close(err)
	}
	return err
}

// adopt gives the number of batch[0]: that of an earlier sending, if the batch
// goes on from there, else the next one.
func (l *link) adopt(batch []envelope.Message) uint64 {
	for i := range l.sent {
		if l.sent[i].id != batch[0].ID {
			continue
		}
		same := true
		for j := 0; same && i+j < len(l.sent) && j < len(batch); j++ {
			same = l.sent[i+j].id == batch[j].ID
		}
		if same {
			return l.base + uint64(i)
		}
	}
	return l.upTo()
}

// upTo gives the number of the next message to send.
func (l *link) upTo() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// fill sends as much of the batch as the window has room for. A message that no
// hub can take ends it with *envelope.Refused.
func (l *link) fill(batch []envelope.Message, base uint64) error {
	for {
		l.mu.Lock()
		acked, next := l.acked, l.next
		l.mu.Unlock()
		l.forget(acked)
		i := next - base
		if i >= uint64(len(batch)) {
			return nil
		}
		underway := next - 1 - acked
		if underway >= min(WindowMessages, l.welcome.Messages) {
			return nil
		}
		l.frame = appendFrame(l.frame[:0], next, &batch[i])
		if len(l.frame) > MaxFrame {
			return &envelope.Refused{Reason: fmt.Sprintf("its frame has %d bytes, more than %d", len(l.frame), MaxFrame)}
		}
		if underway > 0 && l.bytes+uint64(len(l.frame)) > min(WindowBytes, l.welcome.Bytes) {
			return nil
		}
		if underway == 0 {
			l.heardAt = time.Now() // the hub owes an answer from now on
		}
		l.mu.Lock()
		l.next++ // before the hub can answer
		if underway == 0 {
			l.spoke = l.heardAt
		}
		l.mu.Unlock()
		l.sent = append(l.sent, entry{batch[i].ID, len(l.frame)})
		l.bytes += uint64(len(l.frame))
		if _, err := l.out.Write(l.frame); err != nil {
			l.close(fmt.Errorf("cannot send to %s: %w", l.server, err))
			return nil
		}
	}
}

// forget takes off the account what is no longer under way.
func (l *link) forget(acked uint64) {
	for n := max(l.freed+1, l.base); n <= acked; n++ {
		l.bytes -= uint64(l.sent[n-l.base].bytes)
	}
	l.freed = max(l.freed, acked)
	if extra := int(acked+1-l.base) - memory; extra > memory {
		l.sent = append(l.sent[:0], l.sent[extra:]...)
		l.base += uint64(extra)
	}
}

// standing tells how many of the n messages from base on are stored, and what
// the first that is not has met, if that is known.
func (l *link) standing(base uint64, n int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stored := 0
	if l.acked >= base {
		stored = int(min(l.acked+1-base, uint64(n)))
	}
	for i := 0; i < stored && len(l.refused) > 0; i++ {
		number := base + uint64(i)
		if reason, ok := l.refused[number]; ok {
			l.settle(number)
			return i, &envelope.Refused{Reason: reason}
		}
	}
	if stored < n && l.fault != nil {
		return stored, l.fault
	}
	return stored, nil
}

// settle forgets everything up to a refused message that is reported: if it is
// sent again, somebody asked for that.
func (l *link) settle(number uint64) {
	for r := range l.refused {
		if r <= number {
			delete(l.refused, r)
		}
	}
	l.forget(number)
	if number >= l.base {
		l.sent = append(l.sent[:0], l.sent[number+1-l.base:]...)
		l.base = number + 1
	}
}

// alive tells whether the hub still answers.
func (l *link) alive(now time.Time) error {
	l.mu.Lock()
	underway, spoke := l.next-1-l.acked, l.spoke
	l.mu.Unlock()
	if received := l.association.BytesReceived(); received != l.heard || underway == 0 {
		l.heard, l.heardAt = received, now
	}
	switch {
	case underway == 0:
	case now.Sub(l.heardAt) > max(silence, 5*l.roundTrip):
		return fmt.Errorf("nothing from %s for %v", l.server, now.Sub(l.heardAt).Round(time.Millisecond))
	case now.Sub(spoke) > speechless && l.out.BufferedAmount() == 0:
		return fmt.Errorf("%s receives, and says nothing of it for %v", l.server, speechless)
	}
	return nil
}

// unanswered says why nothing is stored, as far as that is known.
func (l *link) unanswered() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy != "" {
		return fmt.Errorf("the hub %s cannot store: %s", l.server, l.busy)
	}
	if l.why != nil {
		return l.why
	}
	return errors.New("no word from " + l.server + " for " + patience.String())
}
