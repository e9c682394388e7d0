package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

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
	Forgeries     []forgeryLine `json:"forgeries"`
}

type epochLine struct {
	Epoch    string   `json:"epoch"`
	Received []string `json:"received"`
	Closed   bool     `json:"closed"`
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

// finish says what is not in order, on stderr, and prints the statistics.
func (p *printer) finish(stats bool) (inOrder bool, err error) {
	inOrder = p.foreign == 0
	if p.others != nil && !p.opened {
		inOrder = false
		fmt.Fprintf(p.stderr, "fieldseal: none of the identities given opens anything: %v\n", p.others)
	}
	for k, n := range p.refused {
		inOrder = false
		name := k.stream.String()
		if k.stream == (envelope.Stream{}) {
			name = "further streams"
		}
		fmt.Fprintf(p.stderr, "fieldseal: %s: %d messages refused: %s\n", name, n, k.class)
	}
	lines := []streamLine{}
	for _, r := range p.reader.Report() {
		say := func(format string, a ...any) {
			fmt.Fprintf(p.stderr, "fieldseal: "+r.Stream.String()+": "+format+"\n", a...)
		}
		for _, g := range r.Gaps {
			inOrder = false
			say("messages %s are missing, and nobody says why", span(g))
		}
		for _, l := range r.Losses {
			say("messages %s are gone: %s (%s, signed by the gateway)", span(envelope.Range{First: l.First, Last: l.Last}), l.Reason, stamp(l.Time.UnixNano()))
		}
		for _, f := range r.Forgeries {
			inOrder = false
			say("message %d: %s: %s", f.Sequence, f.Class, f.Reason)
		}
		if r.Unopened > 0 {
			say("%d sealed messages are not for the identities given", r.Unopened)
		}
		if r.Pending > 0 {
			say("%d messages wait for the gateway's signature, the oldest of %s", r.Pending, r.Oldest.Format(time.RFC3339Nano))
			if overdue(r.Oldest, time.Now()) {
				inOrder = false
				say("that is longer than a gateway takes to sign: signatures are withheld, or somebody else made these messages")
			}
		}
		if r.NoKeyFrame > 0 || r.GivenUp > 0 {
			inOrder = false
			say("%d messages wait for their key frame, %d were given up", r.NoKeyFrame, r.GivenUp)
		}
		lines = append(lines, streamLineOf(&r))
	}
	if stats {
		if err := json.NewEncoder(p.out).Encode(map[string]any{"streams": lines}); err != nil {
			return inOrder, err
		}
	}
	return inOrder, p.out.Flush()
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

func streamLineOf(r *envelope.StreamReport) streamLine {
	l := streamLine{
		Stream: r.Stream.String(), Epochs: []epochLine{}, Gaps: spans(r.Gaps), Losses: []lossLine{}, Forgeries: []forgeryLine{},
		SignedThrough: r.SignedThrough, Pending: r.Pending, Unopened: r.Unopened, Duplicates: r.Duplicates,
	}
	for _, e := range r.Epochs {
		l.Epochs = append(l.Epochs, epochLine{e.Epoch.String(), spans(e.Received), e.Closed})
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
