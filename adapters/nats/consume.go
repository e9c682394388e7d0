package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	sessionTimeout    = 5 * time.Second
	inactiveThreshold = time.Minute // then the server forgets a consumer that does not ask
	pullBytes         = 4 << 20     // on their way to the consumer at once
)

// ConsumeConfig says what to read.
type ConsumeConfig struct {
	Servers []string     // tls://host:port, tried in random order
	Stream  string       // the JetStream stream; it is read only
	Prefix  string       // what the gateways' subjects begin with
	TLS     *tls.Config  // roots and client certificate
	Name    string       // shown by the server; "fieldseal open" where it is empty
	Logger  *slog.Logger // nil: none

	FromStart bool   // from the oldest message on; else only what is stored from now on
	From      uint64 // from this sequence of the stream on, before all of FromStart; 0: nothing is said
	UntilEnd  bool   // return after the last message that the stream had at the start

	// Begin is told what the stream holds before its messages come, and again
	// after each interruption. An error of it ends Consume. nil: nobody asks.
	Begin func(Extent) error
	// At is told of each message where it stands, before fn gets it; also of
	// what is no message of Fieldseal. nil: nobody asks.
	At func(Position)

	// Foreign is told of what is under the prefix and is no message of
	// Fieldseal: anybody with permission may publish there. nil: logged.
	Foreign func(error)
}

// Extent is what a stream holds at one time, and which stream it is: one that was
// made again under its name has another time.
type Extent struct {
	First, Last uint64 // sequences; Last+1 is First in a stream that is empty
	Created     time.Time
	Subjects    []string // that the stream stores, with the wildcards of NATS
}

// Stores tells whether the stream stores anything of what gateways publish under a
// prefix.
func (e *Extent) Stores(prefix string) bool {
	under := strings.Split(prefix, ".")
	return slices.ContainsFunc(e.Subjects, func(s string) bool {
		for i, token := range strings.Split(s, ".") {
			switch {
			case token == ">" || i >= len(under):
				return true
			case token != "*" && token != under[i]:
				return false
			}
		}
		return false
	})
}

// Position is where a message stands in the stream.
type Position struct {
	Sequence uint64
	Left     uint64 // so many are behind it now
}

// Consume calls fn with each message of the stream, in the order of the stream,
// once. It reconnects by itself and goes on where it was. It returns nil at the
// end asked for, else the error of fn or of ctx, or an *envelope.Fault where
// trying again cannot help. Whoever asked for an end and cannot even begin gets
// the reason at once.
func Consume(ctx context.Context, cfg ConsumeConfig, fn func(envelope.Message) error) error {
	if cfg.Name == "" {
		cfg.Name = "fieldseal open"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Foreign == nil {
		cfg.Foreign = func(err error) { cfg.Logger.Warn("not a message of fieldseal", "error", err) }
	}
	w, err := where{servers: cfg.Servers, tls: cfg.TLS, name: cfg.Name}.check()
	if err != nil {
		return err
	}
	if err := checkPrefix(cfg.Prefix); err != nil {
		return err
	}
	c := consumer{ConsumeConfig: cfg, where: w, fn: fn, pause: backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, MaxInterval: 10 * time.Second, Multiplier: 2, RandomizationFactor: 0.5,
	}}
	for {
		err := c.session(ctx)
		var stopped *stop
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stopped):
			return stopped.err
		case ctx.Err() != nil:
			return ctx.Err()
		case fault(err) != nil:
			return fault(err)
		case cfg.UntilEnd && !c.begun:
			return err
		}
		cfg.Logger.Warn("reading is interrupted; trying again", "error", err)
		select {
		case <-time.After(c.pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop carries the error of fn out of a session.
type stop struct{ err error }

func (s *stop) Error() string { return s.err.Error() }

type consumer struct {
	ConsumeConfig
	where where
	fn    func(envelope.Message) error
	pause backoff.ExponentialBackOff

	begun bool
	next  uint64 // stream sequence to go on with
	end   uint64 // the last one there was at the start
}

// session reads over one connection. nil means that the end asked for is reached.
func (c *consumer) session(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	conn, err := c.where.dial(short)
	if err != nil {
		return err
	}
	defer conn.closeNow()
	defer context.AfterFunc(ctx, conn.Close)()
	js, err := jetstream.New(conn.Conn)
	if err != nil {
		return err
	}
	stream, err := js.Stream(short, c.Stream)
	if err != nil {
		return c.because(conn, "look at", err)
	}
	info := stream.CachedInfo()
	if c.Begin != nil {
		if err := c.Begin(Extent{max(info.State.FirstSeq, 1), info.State.LastSeq, info.Created, info.Config.Subjects}); err != nil {
			return &stop{err}
		}
	}
	if c.position(info.State); c.UntilEnd && c.next > c.end {
		return nil
	}
	reader, err := js.OrderedConsumer(short, c.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{c.Prefix + ".>"},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       c.next,
		InactiveThreshold: inactiveThreshold,
		MaxResetAttempts:  1, // what it cannot mend, a new session does
	})
	if err != nil {
		return c.because(conn, "read", err)
	}
	if info := reader.CachedInfo(); c.UntilEnd && info != nil && info.NumPending == 0 {
		return nil
	}
	messages, err := reader.Messages(jetstream.PullMaxBytes(pullBytes))
	if err != nil {
		return c.because(conn, "read", err)
	}
	defer messages.Stop()
	return c.read(ctx, conn, messages)
}

// because adds what the server said beside its answer: a denied request gets none.
func (c *consumer) because(conn *conn, verb string, err error) error {
	select {
	case cause := <-conn.problems:
		err = fmt.Errorf("%w: %w", err, cause)
	default:
	}
	return fmt.Errorf("cannot %s stream %s: %w", verb, c.Stream, err)
}

// position finds out where to begin, or whether where to go on is still there.
func (c *consumer) position(s jetstream.StreamState) {
	switch {
	case !c.begun:
		c.begun = true
		c.end = s.LastSeq
		c.next = s.LastSeq + 1
		switch {
		case c.From > 0:
			c.next = c.From
		case c.FromStart:
			c.next = max(s.FirstSeq, 1)
		}
		c.dropped(s)
	case s.LastSeq+1 < c.next:
		c.Logger.Warn("the stream begins anew, perhaps restored or made again; reading it from its start",
			"stream", c.Stream, "expected", c.next, "last", s.LastSeq)
		c.next = max(s.FirstSeq, 1)
		c.end = s.LastSeq
	default:
		c.dropped(s)
	}
}

// dropped goes on with the oldest message, where the next one is no longer there.
func (c *consumer) dropped(s jetstream.StreamState) {
	if s.FirstSeq > c.next {
		c.Logger.Warn("the stream dropped messages that were not read", "stream", c.Stream, "from", c.next, "to", s.FirstSeq-1)
		c.next = s.FirstSeq
	}
}

func (c *consumer) read(ctx context.Context, conn *conn, messages jetstream.MessagesContext) error {
	for {
		raw, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return c.because(conn, "read", err)
		}
		about, err := raw.Metadata()
		if err != nil {
			return c.because(conn, "read", err)
		}
		if c.UntilEnd && about.Sequence.Stream > c.end {
			return nil
		}
		if c.At != nil {
			c.At(Position{about.Sequence.Stream, about.NumPending})
		}
		m, err := Parse(c.Prefix, raw.Subject(), raw.Headers(), raw.Data())
		if err != nil {
			c.Foreign(err)
		} else if err := c.fn(m); err != nil {
			return &stop{err}
		}
		c.pause.Reset()
		c.next = about.Sequence.Stream + 1
		if c.UntilEnd && (c.next > c.end || about.NumPending == 0) {
			return nil
		}
	}
}
