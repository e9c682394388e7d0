package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// statistics is what --stats prints.
type statistics struct {
	Streams  []streamLine  `json:"streams"`
	Gateways []gatewayLine `json:"gateways"`
	Refused  []refusedLine `json:"refused"`
	Foreign  int           `json:"foreign"` // no messages of Fieldseal, and damage of files
	Messages uint64        `json:"messages"`
	Samples  uint64        `json:"samples"` // and payloads that were printed
	GivenUp  uint64        `json:"given_up"`
	InOrder  bool          `json:"in_order"`
	Audit    *auditSummary `json:"audit,omitempty"`
}

// streamLine is what --stats prints of one stream.
type streamLine struct {
	Stream        string        `json:"stream"`
	Epochs        []epochLine   `json:"epochs"`
	Gaps          []string      `json:"gaps"` // unexplained
	Losses        []lossLine    `json:"losses"`
	SignedThrough uint64        `json:"signed_through"`
	Pending       int           `json:"pending"` // not signed yet
	Unopened      uint64        `json:"unopened"`
	Duplicates    uint64        `json:"duplicates"`
	Forgeries     []forgeryLine `json:"forgeries"` // the first of them

	Highest    uint64   `json:"highest"`
	Heard      string   `json:"heard"`
	Trimmed    uint64   `json:"trimmed"`             // no longer in the source: numbers up to it
	Missed     uint64   `json:"missed"`              // of those before settled, which are no longer told apart
	Settled    uint64   `json:"settled"`             //
	Withheld   []string `json:"withheld"`            // stated, and not here
	Stated     uint64   `json:"stated"`              // the head by the newest statement; 0: there is none
	StatedAt   string   `json:"stated_at,omitempty"` //
	NoKeyFrame int      `json:"no_key_frame"`
	GivenUp    uint64   `json:"given_up"`
	Forged     uint64   `json:"forged"`
}

type epochLine struct {
	Epoch    string   `json:"epoch"`
	Received []string `json:"received"`
	Closed   bool     `json:"closed"`
	Refused  string   `json:"refused,omitempty"` // rollback or clone
}

type lossLine struct {
	Range  string `json:"range"`
	Reason string `json:"reason"`
	Time   string `json:"time"`
}

type forgeryLine struct {
	Sequence uint64 `json:"sequence"`
	Class    string `json:"class"`
	Reason   string `json:"reason"`
}

type refusedLine struct {
	Stream   string `json:"stream"` // empty: of further streams
	Class    string `json:"class"`
	Messages int    `json:"messages"`
}

// gatewayLine is a gateway's word of itself.
type gatewayLine struct {
	Gateway   string `json:"gateway"`
	Statement string `json:"statement,omitempty"` // when it was made; empty: there is none
	Heard     string `json:"heard,omitempty"`
	Clock     string `json:"clock,omitempty"`
	Interval  string `json:"interval,omitempty"`
	Proof     string `json:"proof,omitempty"`
	Silent    bool   `json:"silent"`
	Policy    string `json:"policy,omitempty"` // digest of the one in force
	AuditSize uint64 `json:"audit_size,omitempty"`
	AuditHead string `json:"audit_head,omitempty"`
}

// finish says what is not in order, on stderr, and prints the statistics. What a
// run before this one told is not told again.
func (r *receiver) finish(stats bool) (inOrder bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	inOrder = r.foreign == 0
	if r.audit != nil {
		inOrder = r.audit.finish(r.reader) && inOrder
	}
	if r.options.Trust != nil && !r.vouched() {
		inOrder = false
		r.say("nothing came that a gateway of the trust file signed; look whether %s", r.o.where())
	}
	if r.foreign > maxLines {
		r.say("and %d more that are no messages of fieldseal", r.foreign-maxLines)
	}
	if r.others != nil && !r.opened && len(r.options.Identities) > 0 {
		inOrder = false
		r.say("none of the identities given opens anything: %v", r.others)
	}
	for _, k := range r.refusals() {
		inOrder = false
		name := streamName(k.stream)
		if k.stream == (envelope.Stream{}) {
			name = "further streams"
		}
		r.say("%s: %s refused: %s", name, count(r.refused[k], "message"), k.class)
	}
	inOrder = r.rest(time.Now()) && inOrder
	return inOrder, r.summary(stats, inOrder)
}

// rest tells all that is so at the end.
func (r *receiver) rest(now time.Time) (inOrder bool) {
	inOrder = true
	before := 0
	var lines crowd
	all := r.notes(now)
	for i := range all {
		n := &all[i]
		if r.watch.known[n.lasting()] {
			if n.bad {
				before++
			}
			continue
		}
		inOrder = inOrder && !n.bad
		lines.tell(r, n)
		r.watch.know(n)
	}
	lines.rest(r)
	if before > 0 {
		verb := "are"
		if before == 1 {
			verb = "is"
		}
		r.say("%s not in order, told by an earlier run, %s still so; --stats lists all", count(before, "thing"), verb)
	}
	r.watch.retain(all, r, true)
	return inOrder
}

// vouched tells whether anything came, in this run or before, that a gateway
// signed. An empty folder, or a prefix that is no gateway's, is not in order.
func (r *receiver) vouched() bool {
	return slices.ContainsFunc(r.reader.Report(), func(s envelope.StreamReport) bool { return s.SignedThrough > 0 }) ||
		slices.ContainsFunc(r.reader.Gateways(), func(g envelope.GatewayReport) bool { return g.Statement.Sequence > 0 })
}

// where says what may be wrong where nothing came.
func (o *openOptions) where() string {
	if len(o.servers) > 0 {
		return "--stream and --prefix are those of the gateways, and whether they send"
	}
	return "this is what a gateway wrote, and all of it"
}

// refusals gives what was refused, by stream.
func (r *receiver) refusals() []refusedKey {
	return slices.SortedFunc(maps.Keys(r.refused), func(a, b refusedKey) int {
		return cmp.Or(cmp.Compare(a.stream.String(), b.stream.String()), cmp.Compare(a.class, b.class))
	})
}

// summary prints what is asked for at the end, and keeps the state. Among rows it
// would be none: it goes to stderr there.
func (r *receiver) summary(stats, inOrder bool) (err error) {
	var to io.Writer = r.out
	if r.lines.csv {
		to = r.stderr
	}
	switch {
	case stats:
		err = json.NewEncoder(to).Encode(r.statistics(inOrder))
	case r.audit != nil:
		err = r.audit.write(to, r, inOrder)
	}
	if err != nil {
		return err
	}
	if r.kept == nil {
		return r.out.Flush()
	}
	return r.keep()
}

func (r *receiver) statistics(inOrder bool) statistics {
	s := statistics{
		Streams: []streamLine{}, Gateways: []gatewayLine{}, Refused: []refusedLine{}, Foreign: r.foreign,
		Messages: r.messages, Samples: r.shown, GivenUp: r.reader.GivenUp(), InOrder: inOrder,
	}
	for _, x := range r.reader.Report() {
		s.Streams = append(s.Streams, streamLineOf(&x))
	}
	for _, g := range r.reader.Gateways() {
		s.Gateways = append(s.Gateways, gatewayLineOf(&g))
	}
	for _, k := range r.refusals() {
		l := refusedLine{Class: string(k.class), Messages: r.refused[k]}
		if k.stream != (envelope.Stream{}) {
			l.Stream = streamName(k.stream)
		}
		s.Refused = append(s.Refused, l)
	}
	if r.audit != nil {
		s.Audit = r.audit.summary()
	}
	return s
}

// signsWithin is more than a gateway takes to sign what it sent: 5 s, and the
// way upstream.
const signsWithin = time.Minute

// overdue tells whether a signature should have come. A message from the future
// is none that a gateway sent.
func overdue(t, now time.Time) bool {
	age := now.Sub(t)
	return age > signsWithin || age < -signsWithin
}

func gatewayLineOf(g *envelope.GatewayReport) gatewayLine {
	l := gatewayLine{Gateway: g.Gateway, Silent: g.Silent}
	if s := &g.Statement; s.Sequence > 0 {
		l.Statement, l.Heard = stamp(s.Time.UnixNano()), stamp(g.Heard.UnixNano())
		l.Clock, l.Interval, l.Proof = s.Clock.String(), s.Interval.String(), g.Proof.String()
		if s.Policy != [32]byte{} {
			l.Policy = fmt.Sprintf("%x", s.Policy)
		}
		if s.AuditSize > 0 {
			l.AuditSize, l.AuditHead = s.AuditSize, fmt.Sprintf("%x", s.AuditHead)
		}
	}
	return l
}

func streamLineOf(r *envelope.StreamReport) streamLine {
	l := streamLine{
		Stream: r.Stream.String(), Epochs: []epochLine{}, Gaps: spans(r.Gaps), Losses: []lossLine{}, Forgeries: []forgeryLine{},
		SignedThrough: r.SignedThrough, Pending: r.Pending, Unopened: r.Unopened, Duplicates: r.Duplicates,
		Highest: r.Highest, Heard: stamp(r.Heard.UnixNano()), Trimmed: r.Trimmed, Missed: r.Missed, Settled: r.Settled,
		Withheld: spans(r.Withheld), Stated: r.Stated, NoKeyFrame: r.NoKeyFrame, GivenUp: r.GivenUp, Forged: r.Forged,
	}
	if r.Stated > 0 {
		l.StatedAt = stamp(r.StatedAt.UnixNano())
	}
	for _, e := range r.Epochs {
		l.Epochs = append(l.Epochs, epochLine{e.Epoch.String(), spans(e.Received), e.Closed, string(e.Refused)})
	}
	for _, x := range r.Losses {
		l.Losses = append(l.Losses, lossLine{span(envelope.Range{First: x.First, Last: x.Last}), x.Reason, stamp(x.Time.UnixNano())})
	}
	for _, f := range r.Forgeries {
		l.Forgeries = append(l.Forgeries, forgeryLine{f.Sequence, string(f.Class), f.Reason})
	}
	return l
}

func spans(ranges []envelope.Range) []string {
	out := make([]string, len(ranges))
	for i, r := range ranges {
		out[i] = span(r)
	}
	return out
}

func span(r envelope.Range) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func stamp(unixNano int64) string { return time.Unix(0, unixNano).UTC().Format(time.RFC3339Nano) }
