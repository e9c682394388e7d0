package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// receiver turns messages into lines, and watches over what does not come. All
// fields but the first are those of whoever has mu.
type receiver struct {
	o    *openOptions
	stop context.CancelCauseFunc // ends reading
	mu   sync.Mutex

	out     *bufio.Writer
	file    *os.File // stdout where that is a file on disk: flushed before the state is kept
	stderr  io.Writer
	options envelope.ReaderOptions
	reader  *envelope.Reader // nil before begin
	kept    *keptState
	lines   lines
	audit   *audit // nil: it is for somebody who opens
	failed  error  // why nothing more can be printed or kept

	broker, live    bool // messages come from a broker; there is no end
	began           time.Time
	first, last     uint64
	goal            uint64 // the last that was there at the start
	position, left  uint64 // of the newest message, and how many are behind it
	messages, shown uint64
	watch           watch
	progress        *progress
	ticker          chan struct{} // closed to end tick
	ticking         sync.WaitGroup
	dirty           bool // something was read since the state was kept
	keptAt          time.Time
	keepEvery       time.Duration

	refused map[refusedKey]int
	others  *envelope.Refusal // the newest of those for other recipients; nil for none
	opened  bool              // something sealed was
	foreign int
	before  map[envelope.Stream]uint64 // forgeries of runs before this one
	forged  map[envelope.Stream]uint64 // and all that there are, as the newest notes have it
}

// maxRefused is how many streams are counted apart, of those with refused
// messages; maxLines how many lines say the same of one thing.
const (
	maxRefused = 1000
	maxLines   = 20
)

type refusedKey struct {
	class  envelope.Class
	stream envelope.Stream
}

const (
	tickEvery  = 250 * time.Millisecond // output is flushed
	watchEvery = 2 * time.Second        // the account is looked at
	keepEvery  = time.Second            // the state is kept
)

func newReceiver(o *openOptions, identities []*envelope.Identity, v *verified, kept *keptState, stdout, stderr io.Writer) *receiver {
	r := &receiver{
		o: o, kept: kept, out: bufio.NewWriterSize(stdout, 1<<16), keepEvery: keepEvery, stop: func(error) {},
		options: envelope.ReaderOptions{Identities: identities, Now: o.now, Reuse: true},
		refused: make(map[refusedKey]int), lines: newLines(o, stdout),
		before: make(map[envelope.Stream]uint64), forged: make(map[envelope.Stream]uint64),
	}
	r.progress = newProgress(o.quiet, stdout, stderr)
	r.stderr = r.progress
	if v != nil {
		r.options.Trust = v.trust
	}
	if len(identities) == 0 {
		r.audit = newAudit(v)
	}
	if f, ok := stdout.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			r.file = f
		}
	}
	return r
}

// begin makes the reader. trimmed tells that the source keeps the newest only.
func (r *receiver) begin(trimmed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.start(trimmed)
}

func (r *receiver) start(trimmed bool) (err error) {
	r.options.Trimmed = trimmed
	if r.reader, err = r.kept.reader(r.options); err != nil {
		return err
	}
	r.began = time.Now()
	r.keptAt, r.watch.at = r.began, r.began
	for _, s := range r.reader.Report() {
		if s.Forged > 0 {
			r.before[s.Stream] = s.Forged
		}
	}
	var was *belongs
	if r.kept != nil && r.kept.was != nil {
		was = r.kept.was
		r.watch.remember(was.Told)
	}
	if r.audit != nil {
		r.audit.begin(r.reader, was)
	}
	if !r.added() { // a file that goes on has its header
		if err := r.lines.header(r.out); err != nil {
			return err
		}
	}
	r.ticker = make(chan struct{})
	r.ticking.Go(func() { r.tick(r.ticker) })
	return nil
}

// added tells whether the output goes behind what is in a file already.
func (r *receiver) added() bool {
	if r.file == nil {
		return false
	}
	info, err := r.file.Stat()
	return err == nil && info.Size() > 0
}

// tick does what is due while messages come, and while none do.
func (r *receiver) tick(done <-chan struct{}) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-t.C:
			r.mu.Lock()
			r.due(now)
			r.mu.Unlock()
		}
	}
}

func (r *receiver) due(now time.Time) {
	if r.failed != nil {
		return
	}
	if err := r.out.Flush(); err != nil {
		r.fail(err)
		return
	}
	r.progress.show(now, r)
	if every := max(watchEvery, 20*r.watch.took); r.live && now.Sub(r.watch.at) >= every {
		r.watch.look(r, now)
	}
	// An audit tells what it found at its end: it has nothing to show before.
	if r.dirty && r.kept != nil && r.audit == nil && now.Sub(r.keptAt) >= r.keepEvery {
		if err := r.keep(); err != nil {
			r.fail(err)
		}
	}
}

// fail ends reading: what cannot be printed or kept must not go on as if it were.
func (r *receiver) fail(err error) {
	if r.failed == nil {
		r.failed = err
		r.stop(err)
	}
}

// keep keeps where the reader is. What it delivered was printed before: after a
// crash it may come again, and is not lost.
func (r *receiver) keep() error {
	began := time.Now()
	if err := r.out.Flush(); err != nil {
		return err
	}
	if r.file != nil {
		if err := r.file.Sync(); err != nil {
			return fmt.Errorf("cannot flush the output: %w", err)
		}
	}
	r.kept.ours.Position, r.kept.ours.Told = r.reader.Resume(), r.watch.list()
	if r.audit != nil {
		r.kept.ours.Keyed = r.audit.kept(r.reader.Report())
	}
	if err := r.reader.Save(); err != nil {
		return err
	}
	r.dirty, r.keptAt = false, time.Now()
	r.keepEvery = max(keepEvery, 20*r.keptAt.Sub(began)) // a large state costs more
	return nil
}

// end ends what runs beside reading.
func (r *receiver) end() {
	if r.ticker != nil {
		close(r.ticker)
		r.ticking.Wait()
		r.ticker = nil
	}
	r.progress.clear()
}

// save flushes and keeps the state, after reading went wrong.
func (r *receiver) save() error {
	if r.reader == nil || r.kept == nil || r.audit != nil {
		return r.out.Flush()
	}
	return r.keep()
}

func (r *receiver) say(format string, a ...any) {
	fmt.Fprintf(r.stderr, "fieldseal: %s\n", configs.Plain(fmt.Sprintf(format, a...)))
}

// message takes one message.
func (r *receiver) message(m envelope.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	deliveries, err := r.reader.Read(&m)
	r.messages++
	r.dirty = true
	if err := r.refusal(err); err != nil {
		return err
	}
	if r.audit != nil {
		r.audit.message(r.reader, &m, err == nil)
	}
	for i := range deliveries {
		if err := r.delivery(&deliveries[i]); err != nil {
			return err
		}
	}
	if r.broker && r.left == 0 { // nothing more is at hand
		return r.out.Flush()
	}
	return nil
}

// refusal takes what Read answered.
func (r *receiver) refusal(err error) error {
	var refusal *envelope.Refusal
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refusal):
		return err
	case refusal.Class == envelope.WrongRecipient:
		r.others = refusal // meant for others: wrong only where nothing at all is meant for the identities given
		return nil
	}
	k := refusedKey{refusal.Class, refusal.Stream}
	if _, known := r.refused[k]; !known && len(r.refused) >= maxRefused {
		k = refusedKey{class: refusal.Class} // names that anybody may make up
	}
	if r.refused[k]++; r.refused[k] <= 3 {
		r.say("refused: %s", refusalText(refusal))
	}
	r.watch.know(&note{key: forgeryKey(refusal.Stream, refusal.Class, refusal.Sequence)})
	return nil
}

// refusalText says what was refused: only statements are of no stream.
func refusalText(x *envelope.Refusal) string {
	what := "message"
	if x.Stream.Machine == "" {
		what = "statement"
	}
	return fmt.Sprintf("%s: %s %d of %s: %s", x.Class, what, x.Sequence, streamName(x.Stream), x.Reason)
}

// streamName gives gateway/machine/level, or the gateway alone.
func streamName(s envelope.Stream) string { return strings.TrimRight(s.String(), "/") }

// delivery prints what is one line or more, and gives it to the audit.
func (r *receiver) delivery(d *envelope.Delivery) error {
	if r.audit != nil {
		r.audit.delivery(d)
		if !r.o.clear {
			return nil
		}
	}
	r.opened = r.opened || d.Sealed && !d.Unopened
	n, err := r.lines.delivery(r.out, r.reader, d)
	r.shown += uint64(n)
	return err
}
