// Package sinktest holds a point.Sink for the tests of sources. It keeps what it is
// given and checks the contract of Sink on the way.
package sinktest

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Patience is how long a test waits for what has to happen. Nothing waits that
// long unless it fails.
const Patience = 15 * time.Second

// Recorder is a Sink that keeps everything. What it kept is read under its lock:
// in what is given to Until and Look, or until a deferred Unlock.
type Recorder struct {
	sync.Mutex
	Links    []point.Link
	Samples  []point.Sample
	Takes    []int // how many samples each call of Take had
	Metas    map[uint32]point.Meta
	Breaches []string // of the contract

	Patience time.Duration // of Until, in place of the usual one

	// Gate, where it is set, is what each Take waits for before it takes anything. An
	// error of it is Take's. It is not called under the lock.
	Gate func(context.Context) error

	changed chan struct{} // closed and renewed at each call
	busy    bool
	closed  bool // after Detach or Run: no call may come
}

// New gives a recorder.
func New() *Recorder {
	return &Recorder{changed: make(chan struct{}), Metas: map[uint32]point.Meta{}}
}

// call brackets each call of the sink. Between its halves the lock is free, so that
// calls that overlap are seen.
func (r *Recorder) call(wait func() error, f func()) error {
	r.Look(func() {
		if r.busy {
			r.breach("calls overlap")
		}
		if r.closed {
			r.breach("call after the last")
		}
		r.busy = true
	})
	err := wait()
	r.Look(func() {
		if err == nil {
			f()
		}
		r.busy = false
		close(r.changed)
		r.changed = make(chan struct{})
	})
	return err
}

// atOnce waits for nothing.
func atOnce() error { return nil }

func (r *Recorder) breach(format string, args ...any) {
	r.Breaches = append(r.Breaches, fmt.Sprintf(format, args...))
}

// Take implements point.Sink.
func (r *Recorder) Take(ctx context.Context, s []point.Sample) error {
	gate := atOnce
	if r.Gate != nil {
		gate = func() error { return r.Gate(ctx) }
	}
	err := r.call(gate, func() {
		if len(s) < 1 || len(s) > point.MaxSamples {
			r.breach("%d samples at once", len(s))
		}
		if len(r.Links) == 0 {
			r.breach("samples before Link")
		}
		r.Takes = append(r.Takes, len(s))
		for _, one := range s {
			if _, ok := r.Metas[one.Point]; !ok {
				r.breach("sample of point %d before Describe", one.Point)
			}
			if one.Quality.IsBad() != (one.Value.Kind() == point.None) {
				r.breach("quality %v with a value of kind %v", one.Quality, one.Value.Kind())
			}
			if one.Time == 0 {
				r.breach("sample without time")
			}
			one.Value = one.Value.Clone()
			r.Samples = append(r.Samples, one)
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// Link implements point.Sink. A link that is up may have an error: what of it does
// not work.
func (r *Recorder) Link(l point.Link) {
	_ = r.call(atOnce, func() {
		if l.State == point.LinkDown && l.Err == "" {
			r.breach("link %v with error %q", l.State, l.Err)
		}
		r.Links = append(r.Links, l)
	})
}

// Describe implements point.Sink.
func (r *Recorder) Describe(index uint32, m point.Meta) {
	_ = r.call(atOnce, func() { r.Metas[index] = m })
}

// Close says that no call may come any more.
func (r *Recorder) Close() { r.Look(func() { r.closed = true }) }

// Look runs f under the lock, and gives the lock back however f ends: a test that
// fails or panics in there would else wait for ever in what cleans up behind it.
func (r *Recorder) Look(f func()) {
	r.Lock()
	defer r.Unlock()
	f()
}

// Until waits until the condition, which is asked under the lock after each call,
// holds.
func (r *Recorder) Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(cmp.Or(r.Patience, Patience))
	defer late.Stop()
	for {
		var ok bool
		var changed chan struct{}
		r.Look(func() { ok, changed = holds(), r.changed })
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			var link point.Link
			r.Look(func() { link = r.Last() })
			require.FailNow(t, "waited too long for: "+what, "the link is %+v", link)
		}
	}
}

// Mark is the number of samples so far. Not under the lock.
func (r *Recorder) Mark() (n int) {
	r.Look(func() { n = len(r.Samples) })
	return n
}

// Of gives the samples of a point from the mark on. Under the lock.
func (r *Recorder) Of(index uint32, mark int) (out []point.Sample) {
	for _, s := range r.Samples[mark:] {
		if s.Point == index {
			out = append(out, s)
		}
	}
	return out
}

// Good counts the good samples of a point from the mark on. Under the lock.
func (r *Recorder) Good(index uint32, mark int) (n int) {
	for _, s := range r.Of(index, mark) {
		if s.Quality.IsGood() {
			n++
		}
	}
	return n
}

// Payloads gives the bytes of a point's samples that are not bad. Not under the lock.
func (r *Recorder) Payloads(index uint32) (out []string) {
	r.Look(func() {
		for _, s := range r.Of(index, 0) {
			if !s.Quality.IsBad() {
				out = append(out, string(s.Value.Data()))
			}
		}
	})
	return out
}

// Last is the last state of the link that was told. Under the lock.
func (r *Recorder) Last() point.Link {
	if len(r.Links) == 0 {
		return point.Link{}
	}
	return r.Links[len(r.Links)-1]
}
