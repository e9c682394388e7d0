package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	// leastDuplicates is the shortest window in which a stream has to know again
	// what it has: a connection that breaks, and another server that takes over.
	leastDuplicates = 2 * time.Minute
	// aroundBody is what surrounds the body of a message: subject and headers.
	aroundBody = 4 << 10
	// leastMessage is how small messages are at least, as a rule.
	leastMessage = 512
	inspectTime  = 4 * time.Second // for what one server says of its stream
)

// Finding is one thing that [Inspect] found.
type Finding struct {
	What    string // what is wrong, lower case, no full stop
	Instead string // what to set
	Note    bool   // good to know
	Unseen  bool   // it could not look, and says why
}

// Expect is what a stream has to do for a gateway.
type Expect struct {
	Addresses []envelope.Address // of the messages that will come
	MaxAge    time.Duration      // how long a message may wait in the outbox; 0: any time
	MaxSize   int64              // how many bytes may
	KeyLife   time.Duration      // how much older than its data a key frame may be
}

// Inspect looks, without publishing anything, whether each of the servers lets
// the gateway in and has the stream, and whether that keeps what it is given. An
// error is one of the configuration.
func Inspect(ctx context.Context, cfg Config, expect Expect) ([]Finding, error) {
	if _, err := New(cfg); err != nil {
		return nil, err
	}
	w, err := where{servers: cfg.Servers, tls: cfg.TLS, name: "fieldseal-check/" + cfg.Gateway}.check()
	if err != nil {
		return nil, err
	}
	i := inspection{cfg: cfg, expect: expect}
	for _, server := range w.servers {
		i.server(ctx, w, server)
	}
	if i.seen != nil {
		i.stream(i.seen)
		i.add(Finding{Note: true, What: "whether this client may publish was not tried, since a check publishes nothing", Instead: i.permission()})
	}
	return i.found, nil
}

type inspection struct {
	cfg    Config
	expect Expect
	seen   *jetstream.StreamInfo // by the first server that told
	first  string                // that server
	found  []Finding
}

func (i *inspection) add(f Finding) { i.found = append(i.found, f) }

func (i *inspection) permission() string {
	return "allow it to publish to " + i.cfg.Prefix + "." + i.cfg.Gateway + ".> and to subscribe to _INBOX.>"
}

// server looks at the stream as one server has it.
func (i *inspection) server(ctx context.Context, w where, server string) {
	w.servers = []string{server}
	c, err := w.dial(ctx)
	if err != nil {
		i.fails(server, err)
		return
	}
	defer c.closeNow()
	if most := c.MaxPayload(); most < envelope.MaxBody+aroundBody {
		i.add(Finding{
			What:    fmt.Sprintf("%s takes messages of %d bytes at most, and a gateway makes some of %d", server, most, envelope.MaxBody+aroundBody),
			Instead: "set max_payload to 1MB there, which is the default",
		})
	}
	info, err := i.info(ctx, c)
	switch {
	case errors.Is(err, errNotTold):
		i.add(Finding{
			Unseen: true, Note: true,
			What:    fmt.Sprintf("%s does not tell how the stream %q is configured: %v", server, i.cfg.Stream, err),
			Instead: "allow this client to publish to $JS.API.STREAM.INFO." + i.cfg.Stream + ", or have somebody look who may: nats stream info " + i.cfg.Stream,
		})
	case err != nil:
		i.fails(server, err)
	case i.seen == nil:
		i.seen, i.first = info, server
	case !info.Created.Equal(i.seen.Created):
		i.add(Finding{
			What:    fmt.Sprintf("%s has another stream %q than %s: they were made at different times", server, i.cfg.Stream, i.first),
			Instead: "name servers of one cluster: what went to the one is not in the other",
		})
	}
}

// fails tells why a server is of no use.
func (i *inspection) fails(server string, err error) {
	f := Finding{What: err.Error(), Instead: "see that it runs, and that nothing on the way blocks it"}
	if known := fault(err); known != nil {
		f.What, f.Instead = fmt.Sprintf("%s: %s", server, known.What), known.Instead
		if known.Err != nil {
			f.What += ": " + known.Err.Error()
		}
	} else if timedOut(err) {
		f.What = fmt.Sprintf("%s did not answer within %v", server, dialTimeout)
	} else if !strings.Contains(f.What, server) {
		f.What = server + ": " + f.What
	}
	i.add(f)
}

// timedOut tells whether a server that took the connection said nothing on it:
// then the connection was closed under whoever waited for a word.
func timedOut(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() || errors.Is(err, net.ErrClosed) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// errNotTold: the server does not let this client ask, or does not answer.
var errNotTold = errors.New("it may not ask")

// info asks one server for the stream.
func (i *inspection) info(ctx context.Context, c *conn) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	js, err := jetstream.New(c.Conn)
	if err != nil {
		return nil, err
	}
	ask, done := make(chan error, 1), make(chan struct{})
	go func() { // a question that is not permitted is never answered
		defer close(done)
		select {
		case err := <-c.problems:
			if errors.Is(err, nats.ErrPermissionViolation) {
				ask <- fmt.Errorf("%w: %w", errNotTold, err)
			}
			cancel()
		case <-ctx.Done():
		}
	}()
	stream, err := js.Stream(ctx, i.cfg.Stream)
	cancel()
	<-done
	select {
	case denied := <-ask:
		return nil, denied
	default:
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: no answer in %v", errNotTold, inspectTime)
	case err != nil:
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// stream looks at how the stream is configured.
func (i *inspection) stream(info *jetstream.StreamInfo) {
	c := &info.Config
	wrong := func(is bool, what, instead string) {
		if is {
			i.add(Finding{What: fmt.Sprintf("the stream %q ", i.cfg.Stream) + what, Instead: instead})
		}
	}
	i.subjects(c.Subjects)
	wrong(c.Sealed, "is sealed and takes nothing more", "name one that is not")
	full := c.MaxMsgs > 0 && info.State.Msgs >= uint64(c.MaxMsgs) || c.MaxBytes > 0 && info.State.Bytes >= uint64(c.MaxBytes)
	wrong(c.Discard == jetstream.DiscardNew && full, "is full and refuses what is new (discard: new)", "raise its limits, or archive and remove what is old")
	wrong(c.Mirror != nil, "mirrors another one and takes no messages itself", "name the one that it mirrors")
	wrong(c.NoAck, "acknowledges nothing, so that nothing ever counts as delivered", "set no_ack: false")
	wrong(c.Retention != jetstream.LimitsPolicy, fmt.Sprintf("removes messages once consumers have them (retention %s), so that the next recipient finds gaps", c.Retention), "use one with retention: limits")
	wrong(c.Storage == jetstream.MemoryStorage, "is in memory: what a gateway has freed is gone with the server", "use one with storage: file")
	wrong(c.PersistMode == jetstream.AsyncPersistMode, "acknowledges before it has written", "use one with persist_mode: default")
	wrong(c.AllowRollup, "allows a message to replace all others before it (allow_rollup_hdrs)", "nats stream edit "+i.cfg.Stream+" --no-allow-rollup")
	wrong(c.AllowMsgTTL, "allows messages that end by themselves (allow_msg_ttl), so that whoever may publish can let key frames go before their data", "use one without allow_msg_ttl; it cannot be switched off again")
	wrong(!c.DenyDelete, "lets clients delete single messages", "set deny_delete: true (nats stream edit "+i.cfg.Stream+" --deny-delete)")
	wrong(!c.DenyPurge, "lets clients purge it", "set deny_purge: true (nats stream edit "+i.cfg.Stream+" --deny-purge)")
	wrong(c.SubjectTransform != nil, "renames subjects as they come, so that receivers refuse the messages", "use one without subject_transform")
	wrong(c.AllowMsgCounter, "counts in messages instead of keeping them (allow_msg_counter)", "use another one")
	wrong(c.MaxMsgSize > 0 && c.MaxMsgSize < envelope.MaxBody+aroundBody,
		fmt.Sprintf("takes messages of %d bytes at most, and a gateway makes some of %d", c.MaxMsgSize, envelope.MaxBody+aroundBody), "set max_msg_size: -1")
	wrong(c.Duplicates < leastDuplicates, fmt.Sprintf("knows what it has for %v only: what is sent again after a break is there twice", c.Duplicates),
		fmt.Sprintf("set duplicate_window to %v or more", leastDuplicates))
	i.limits(c)
	if c.RePublish != nil {
		i.add(Finding{
			Note: true, What: fmt.Sprintf("the stream %q republishes what comes to %s: who may subscribe there sees it too", i.cfg.Stream, c.RePublish.Destination),
			Instead: "see who may",
		})
	}
	if c.Replicas < 2 {
		i.add(Finding{
			Note: true, What: fmt.Sprintf("the stream %q has one replica: what a gateway has freed is on one disk only, and may not be on it yet", i.cfg.Stream),
			Instead: "use 3 replicas in a cluster, or set sync_interval: always on the server",
		})
	}
}

// limits looks at what the stream removes by itself. One that refuses what is new
// loses nothing: the outbox waits.
func (i *inspection) limits(c *jetstream.StreamConfig) {
	wrong := func(is bool, what, instead string) {
		if is {
			i.add(Finding{What: fmt.Sprintf("the stream %q ", i.cfg.Stream) + what, Instead: instead})
		}
	}
	old := c.Discard == jetstream.DiscardOld
	need := i.expect.MaxAge + i.expect.KeyLife
	wrong(c.MaxAge > 0 && i.expect.MaxAge > 0 && c.MaxAge < need,
		fmt.Sprintf("keeps messages for %v, and the outbox promises %v for those that wait: with the %v that a key frame may be older than its data, these would be gone or could not be opened",
			c.MaxAge, i.expect.MaxAge, i.expect.KeyLife),
		fmt.Sprintf("set max_age to %v or more", need))
	wrong(c.MaxAge > 0 && i.expect.MaxAge == 0 && c.MaxAge <= i.expect.KeyLife,
		fmt.Sprintf("keeps messages for %v, and a key frame may be %v older than its data", c.MaxAge, i.expect.KeyLife), "set max_age to days")
	wrong(old && c.MaxBytes > 0 && c.MaxBytes < i.expect.MaxSize,
		fmt.Sprintf("discards what is old beyond %d bytes, and an outbox of %d bytes that is sent at once pushes its own beginning out", c.MaxBytes, i.expect.MaxSize),
		fmt.Sprintf("set max_bytes to %d or more, or discard: new", i.expect.MaxSize))
	wrong(old && c.MaxMsgs > 0 && c.MaxMsgs < i.expect.MaxSize/leastMessage,
		fmt.Sprintf("discards what is old beyond %d messages, and an outbox of %d bytes may hold %d", c.MaxMsgs, i.expect.MaxSize, i.expect.MaxSize/leastMessage),
		"set max_msgs: -1, or discard: new")
	wrong(c.MaxMsgsPerSubject > 0,
		fmt.Sprintf("keeps %d messages of each subject, whatever their age: data goes without notice, and the key frames of what stays do too", c.MaxMsgsPerSubject),
		"set max_msgs_per_subject: -1")
	if c.MaxAge > 0 && i.expect.KeyLife > 0 {
		i.add(Finding{
			Note: true, What: fmt.Sprintf("the stream %q keeps messages for %v: what is older than %v there may have lost its key frame", i.cfg.Stream, c.MaxAge, c.MaxAge-i.expect.KeyLife),
			Instead: "whoever archives, reads before that",
		})
	}
}

// subjects looks whether the stream has all of this gateway's.
func (i *inspection) subjects(has []string) {
	var missing []string
	for _, a := range i.expect.Addresses {
		subject := Subject(i.cfg.Prefix, a)
		covered := false
		for _, pattern := range has {
			covered = covered || covers(pattern, subject)
		}
		if !covered {
			missing = append(missing, subject)
		}
	}
	if len(missing) == 0 {
		return
	}
	more := ""
	if n := len(missing) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more of this gateway's subjects", n)
	}
	i.add(Finding{
		What:    fmt.Sprintf("the stream %q does not have %s%s: it has %s", i.cfg.Stream, missing[0], more, strings.Join(has, ", ")),
		Instead: "add " + i.cfg.Prefix + "." + i.cfg.Gateway + ".> to its subjects",
	})
}

// covers tells whether a pattern of a stream has a subject. A * in the subject
// stands for any one token.
func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for k, token := range p {
		switch {
		case token == ">":
			return len(s) > k
		case k >= len(s) || token != "*" && token != s[k]:
			return false
		}
	}
	return len(p) == len(s)
}
