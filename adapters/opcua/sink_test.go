package opcua_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// patience is how long a test waits for what has to happen. Nothing waits that
// long unless it fails.
const patience = 10 * time.Second

// recorder is a Sink that keeps everything, and checks the contract of Sink.
type recorder struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and renewed at each call
	busy     bool
	closed   bool // after Detach or Run: no call may come
	linked   bool
	links    []point.Link
	samples  []point.Sample
	takes    []int
	metas    map[uint32]point.Meta
	breaches []string
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}), metas: map[uint32]point.Meta{}}
}

// call brackets each call of the sink.
func (r *recorder) call(f func()) {
	r.mu.Lock()
	if r.busy {
		r.breaches = append(r.breaches, "calls overlap")
	}
	if r.closed {
		r.breaches = append(r.breaches, "call after the last")
	}
	r.busy = true
	r.mu.Unlock()
	r.mu.Lock()
	f()
	r.busy = false
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
}

func (r *recorder) breach(format string, args ...any) {
	r.breaches = append(r.breaches, fmt.Sprintf(format, args...))
}

func (r *recorder) Take(ctx context.Context, s []point.Sample) error {
	r.call(func() {
		if len(s) < 1 || len(s) > point.MaxSamples {
			r.breach("%d samples at once", len(s))
		}
		if !r.linked {
			r.breach("samples before Link")
		}
		r.takes = append(r.takes, len(s))
		for _, one := range s {
			if _, ok := r.metas[one.Point]; !ok {
				r.breach("sample of point %d before Describe", one.Point)
			}
			if one.Quality.IsBad() != (one.Value.Kind() == point.None) {
				r.breach("quality %v with a value of kind %v", one.Quality, one.Value.Kind())
			}
			if one.Time == 0 {
				r.breach("sample without time")
			}
			one.Value = one.Value.Clone()
			r.samples = append(r.samples, one)
		}
	})
	return ctx.Err()
}

func (r *recorder) Link(l point.Link) {
	r.call(func() {
		r.linked = true
		if l.State == point.LinkDown && l.Err == "" {
			r.breach("link %v with error %q", l.State, l.Err)
		}
		r.links = append(r.links, l)
	})
}

func (r *recorder) Describe(index uint32, m point.Meta) { r.call(func() { r.metas[index] = m }) }

// close says that no call may come any more.
func (r *recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// until waits until the condition, which is asked under the lock after each
// call, holds.
func (r *recorder) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		ok, changed := holds(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			require.FailNow(t, "waited too long for: "+what)
		}
	}
}

// of gives the samples of a point from the mark on. Under the lock.
func (r *recorder) of(index uint32, mark int) (out []point.Sample) {
	for _, s := range r.samples[mark:] {
		if s.Point == index {
			out = append(out, s)
		}
	}
	return out
}

// good counts the good samples of a point from the mark on. Under the lock.
func (r *recorder) good(index uint32, mark int) (n int) {
	for _, s := range r.of(index, mark) {
		if s.Quality.IsGood() {
			n++
		}
	}
	return n
}

// mark is the number of samples so far.
func (r *recorder) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.samples)
}

// link is the last state that was told. Under the lock.
func (r *recorder) link() point.Link {
	if len(r.links) == 0 {
		return point.Link{}
	}
	return r.links[len(r.links)-1]
}
