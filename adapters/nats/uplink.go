// Package nats delivers messages to a NATS JetStream stream over TLS, and reads
// them back.
//
// [Uplink] publishes to a stream that exists: it never creates, changes or
// purges one. What it reports stored, the stream has acknowledged. A server
// acknowledges before it has flushed to its disk unless it is configured with
// `sync_interval: always`, or the stream has replicas in separate fault domains.
//
// On a connection that breaks, the rest is sent again on the next one, and the
// stream drops by message id what it had already stored. Its duplicate window
// (two minutes unless configured) ends; after a longer outage a consumer drops
// by sequence what is there twice, as envelope.Reader does. Where the stream
// refuses one message and takes later ones of the same batch, the order in the
// stream differs from that of the sequences.
package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	defaultWindow = 256
	// patience is for how long Send goes on without a message stored.
	patience = 3500 * time.Millisecond
	// A cluster that elects a leader answers as if there were no stream: within a
	// Send it is asked again, and a stream that was there is missed for so many
	// Sends before that is a fault.
	leaderless      = 1500 * time.Millisecond
	leaderlessIn    = 250 * time.Millisecond
	leaderlessSends = 4
)

// Config says where to deliver.
type Config struct {
	Servers []string     // tls://host:port, tried in random order
	Stream  string       // the JetStream stream that must store the messages; it exists already
	Prefix  string       // of every subject: "plant.augsburg"
	Gateway string       // the name that the server shows for this client
	TLS     *tls.Config  // roots and client certificate; GetClientCertificate lets the certificate rotate
	Logger  *slog.Logger // nil: none
	Window  int          // messages under way at once; 256 where it is 0. More helps on long paths
}

// Uplink delivers messages to one JetStream stream. It connects when there is
// something to send. Send is not called concurrently; the other methods may be.
type Uplink struct {
	cfg      Config
	where    where
	patience time.Duration

	connections atomic.Uint64

	mu     sync.Mutex // guards what follows
	link   *link
	closed bool

	// Owned by Send.
	flight  uint64 // counts what Send published at one go, so that late answers are not taken for later ones
	stored  []bool // of the flight under way
	header  nats.Header
	epoch   envelope.Epoch
	epochIs string // epoch in its written form
}

// link is a connection that can publish: a conn with a place for the answers.
type link struct {
	*conn
	inbox  string // answers to message i of flight f arrive on inbox + "f-i"
	acks   chan *nats.Msg
	window int // 1 until the first message was stored: what is refused, is refused alone

	proven bool // something was stored
	missed int  // Sends in a row that found no stream
}

// New makes an uplink. It does not connect; an error is one of the configuration.
func New(cfg Config) (*Uplink, error) {
	w, err := where{servers: cfg.Servers, tls: cfg.TLS, name: "fieldseal/" + cfg.Gateway}.check()
	if err != nil {
		return nil, err
	}
	if cfg.Stream == "" || strings.ContainsAny(cfg.Stream, " .*>/\\\t\r\n") {
		return nil, fmt.Errorf("stream %q; write the name of an existing JetStream stream", cfg.Stream)
	}
	if err := checkPrefix(cfg.Prefix); err != nil {
		return nil, err
	}
	if cfg.Window < 0 || cfg.Window > 8192 {
		return nil, fmt.Errorf("window %d; write 1 to 8192", cfg.Window)
	}
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Uplink{cfg: cfg, where: w, patience: patience}, nil
}

func checkPrefix(prefix string) error {
	for token := range strings.SplitSeq(prefix, ".") {
		if err := checkName("prefix", token); err != nil {
			return fmt.Errorf("prefix %q; write names with dots between: plant.augsburg: %w", prefix, err)
		}
	}
	return nil
}

// Connections counts the connections made so far.
func (u *Uplink) Connections() uint64 { return u.connections.Load() }

// Close ends the connection. A Send under way returns with an error.
func (u *Uplink) Close() error {
	u.mu.Lock()
	l := u.link
	u.link, u.closed = nil, true
	u.mu.Unlock()
	if l != nil {
		l.closeNow()
	}
	return nil
}

// Send publishes the batch and waits until the stream has acknowledged it. n
// messages from its front are stored; n < len(batch) only with an error:
// *envelope.Refused, *envelope.Fault, ctx's, or one that is transient. Without
// progress it returns within 5 s.
func (u *Uplink) Send(ctx context.Context, batch []envelope.Message) (n int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	idle := time.NewTimer(u.patience)
	defer idle.Stop()
	l, fresh, err := u.connect(ctx)
	if err != nil {
		return 0, err
	}
	started := time.Now()
	for {
		stored, err := u.publish(ctx, l, batch[n:], idle)
		n += stored
		if stored > 0 {
			started = time.Now()
			l.proven, l.missed = true, 0
		}
		if n == len(batch) {
			return n, nil
		}
		l.window = 1
		switch {
		case errors.Is(err, errNobody) && time.Since(started) < min(leaderless, u.patience/2):
			select {
			case <-time.After(leaderlessIn):
				continue
			case <-l.gone:
				err = l.reason()
			case <-ctx.Done():
				err = ctx.Err()
			}
		case errors.Is(err, errNobody) && l.proven && l.missed+1 < leaderlessSends:
			l.missed++
			err = fmt.Errorf("stream %s is gone, or has no leader: %w", u.cfg.Stream, err)
		case errors.Is(err, errNobody):
			err = &envelope.Fault{
				What:    fmt.Sprintf("no stream stores the subject %q", Subject(u.cfg.Prefix, batch[n].Address)),
				Instead: fmt.Sprintf("add %s.> to the subjects of the stream %q upstream, or create it with them: no stream is created or changed from here", u.cfg.Prefix, u.cfg.Stream),
			}
		case errors.Is(err, errSilent) && !fresh:
			u.drop(l) // perhaps only this connection is dead
		}
		return n, err
	}
}

// errSilent: nothing was stored and nothing said.
var errSilent = errors.New("the server does not acknowledge")

// connect gives the connection that is there, or makes one.
func (u *Uplink) connect(ctx context.Context) (l *link, fresh bool, err error) {
	u.mu.Lock()
	l, closed := u.link, u.closed
	u.mu.Unlock()
	if closed {
		return nil, false, errors.New("the uplink is closed")
	}
	if l != nil {
		select {
		case <-l.gone:
			u.cfg.Logger.Warn("connection lost", "error", l.reason())
			u.drop(l)
		default:
			return l, false, nil
		}
	}
	short, cancel := context.WithTimeout(ctx, u.patience)
	defer cancel()
	c, err := u.where.dial(short)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, err
	}
	if l, err = u.newLink(c); err != nil {
		c.closeNow()
		return nil, false, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		l.closeNow()
		return nil, false, errors.New("the uplink is closed")
	}
	u.link = l
	u.connections.Add(1)
	u.cfg.Logger.Info("connected", "server", c.server, "stream", u.cfg.Stream)
	return l, true, nil
}

func (u *Uplink) newLink(c *conn) (*link, error) {
	l := &link{
		conn:   c,
		inbox:  c.NewInbox() + ".",
		acks:   make(chan *nats.Msg, 2*u.cfg.Window), // those of this flight and late ones of the last
		window: 1,
	}
	if _, err := c.ChanSubscribe(l.inbox+"*", l.acks); err != nil {
		return nil, fmt.Errorf("cannot subscribe to acknowledgements: %w", err)
	}
	return l, nil
}

// drop forgets a connection; the next Send makes another.
func (u *Uplink) drop(l *link) {
	u.mu.Lock()
	if u.link == l {
		u.link = nil
	}
	u.mu.Unlock()
	l.closeNow()
}

// publish sends the batch with a window of messages under way. It returns how
// many from the front are stored and, if not all, what the next one met.
func (u *Uplink) publish(ctx context.Context, l *link, batch []envelope.Message, idle *time.Timer) (int, error) {
	u.flight++
	f := flight{uplink: u, link: l, batch: batch, end: len(batch), inbox: l.inbox + strconv.FormatUint(u.flight, 36) + "-"}
	f.acked = append(u.stored[:0], make([]bool, len(batch))...)
	u.stored = f.acked
	for f.head < f.end {
		if f.sent < f.end && f.sent-f.head < l.window {
			if err := u.publishOne(&f); err != nil {
				f.fail(f.sent, err)
				continue
			}
			f.sent++
		}
		head := f.head
		wait := f.wait
		if f.sent < f.end && f.sent-f.head < l.window && len(l.acks) == 0 {
			wait = f.interrupted
		}
		if err := wait(ctx, idle); err != nil {
			return f.head, err
		}
		if f.head > head {
			idle.Reset(u.patience)
			l.window = u.cfg.Window
		}
	}
	return f.head, f.err
}

// publishOne hands one message to the connection's buffer.
func (u *Uplink) publishOne(f *flight) error {
	m := &f.batch[f.sent]
	if err := check(m); err != nil {
		return &envelope.Refused{Reason: err.Error()}
	}
	subject := Subject(u.cfg.Prefix, m.Address)
	if len(subject) > maxSubject {
		return &envelope.Refused{Reason: fmt.Sprintf("its subject has %d characters, more than %d", len(subject), maxSubject)}
	}
	err := f.link.PublishMsg(&nats.Msg{
		Subject: subject,
		Reply:   f.inbox + strconv.Itoa(f.sent),
		Header:  u.headerOf(m),
		Data:    m.Body,
	})
	switch {
	case errors.Is(err, nats.ErrMaxPayload): // counts the headers
		return &envelope.Refused{Reason: fmt.Sprintf("its %d bytes with its headers are more than the server's max_payload of %d",
			len(m.Body), f.link.MaxPayload())}
	case err != nil && fault(err) == nil:
		return fmt.Errorf("cannot publish: %w", err)
	case err != nil:
		return fault(err)
	}
	return nil
}

// headerOf is Header with the stream that is expected, without allocating what
// the last message allocated already.
func (u *Uplink) headerOf(m *envelope.Message) nats.Header {
	if m.Epoch != u.epoch || u.epochIs == "" {
		u.epoch, u.epochIs = m.Epoch, m.Epoch.String()
	}
	if u.header == nil {
		u.header = Header(m)
		u.header[headerExpectedStream] = []string{u.cfg.Stream}
	}
	h := u.header
	h[headerID][0] = brokerID(m)
	h[headerContentType][0] = m.ContentType
	h[headerKind][0] = m.Address.Kind.String()
	h[headerEpoch][0] = u.epochIs
	h[headerSequence][0] = strconv.FormatUint(m.Sequence, 10)
	h[headerTime][0] = strconv.FormatInt(m.Time, 10)
	setOrDelete(h, headerMachine, m.Address.Stream.Machine)
	setOrDelete(h, headerLevel, m.Address.Stream.Level)
	return h
}

func setOrDelete(h nats.Header, key, value string) {
	switch v := h[key]; {
	case value == "":
		delete(h, key)
	case v == nil:
		h[key] = []string{value}
	default:
		v[0] = value
	}
}
