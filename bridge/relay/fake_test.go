package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbered makes message i of a stream.
func numbered(i uint64, kind envelope.Kind, machine string) envelope.Message {
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: machine, Level: "restricted"}, Kind: kind},
		Epoch:       envelope.Epoch{Start: 1, Number: 1},
		Sequence:    i,
		ContentType: envelope.TypeSealed,
		Body:        []byte(fmt.Sprintf("%s %d", kind, i)),
	}
	binary.BigEndian.PutUint64(m.ID[8:], i)
	return m
}

func number(m *envelope.Message) uint64 { return binary.BigEndian.Uint64(m.ID[8:]) }

func entry(m envelope.Message) outbox.Entry {
	return outbox.Entry{Record: outbox.Record{Tag: tagMessage, Data: envelope.AppendMessage(nil, &m)}}
}

func contextEntry(m envelope.Message) outbox.Entry {
	e := entry(m)
	e.Context = true
	return e
}

// data makes entries of data messages from to to of press-3.
func data(from, to uint64) []outbox.Entry {
	var all []outbox.Entry
	for i := from; i <= to; i++ {
		all = append(all, entry(numbered(i, envelope.Data, "press-3")))
	}
	return all
}

// queue is a Queue in memory. It overwrites what it gave at the next Next.
type queue struct {
	mu      sync.Mutex
	entries []outbox.Entry
	next    int
	freed   uint64
	grown   chan struct{}
	given   [][]byte
	onFree  func(position uint64)
	nextErr []error // given first
	freeErr error
}

func newQueue(entries ...outbox.Entry) *queue {
	q := &queue{grown: make(chan struct{})}
	q.add(entries...)
	return q
}

// add gives the entries their positions.
func (q *queue) add(entries ...outbox.Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := uint64(0)
	for i := range q.entries {
		last = max(last, q.entries[i].Position)
	}
	for _, e := range entries {
		if !e.Context {
			last++
			e.Position = last
		}
		q.entries = append(q.entries, e)
	}
	close(q.grown)
	q.grown = make(chan struct{})
}

func (q *queue) Next(ctx context.Context, maxRecords, _ int) ([]outbox.Entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.given {
		clear(b)
	}
	q.given = q.given[:0]
	if len(q.nextErr) > 0 {
		err := q.nextErr[0]
		q.nextErr = q.nextErr[1:]
		return nil, err
	}
	var out []outbox.Entry
	fresh := 0
	for {
		for q.next < len(q.entries) && fresh < maxRecords {
			e := q.entries[q.next]
			e.Context = e.Context || e.Position <= q.freed
			if !e.Context {
				fresh++
			}
			e.Data = slices.Clone(e.Data)
			q.given = append(q.given, e.Data)
			out = append(out, e)
			q.next++
		}
		if fresh > 0 {
			return out, nil
		}
		grown := q.grown
		q.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
		}
		q.mu.Lock()
		if ctx.Err() != nil {
			q.next -= len(out) // they come again
			return nil, ctx.Err()
		}
	}
}

func (q *queue) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = 0
}

func (q *queue) Free(position uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.onFree != nil {
		q.onFree(position)
	}
	q.freed = max(q.freed, position)
	return q.freeErr
}

func (q *queue) Waiting() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := uint64(0)
	for i := range q.entries {
		if !q.entries[i].Context && q.entries[i].Position > q.freed {
			n++
		}
	}
	return n
}

// fake is an Uplink that does what script says, one function for each Send; the
// default, and what follows the script, stores all.
type fake struct {
	mu          sync.Mutex
	script      []func(batch []envelope.Message) (int, error)
	otherwise   func(batch []envelope.Message) (int, error)
	connections uint64
	calls       int
	stored      []uint64 // numbers, with what came twice
	closed      bool
	block       bool // Send waits for ctx
}

func (f *fake) Send(ctx context.Context, batch []envelope.Message) (int, error) {
	f.mu.Lock()
	if f.block {
		f.mu.Unlock()
		<-ctx.Done()
		return 0, ctx.Err()
	}
	defer f.mu.Unlock()
	f.calls++
	if f.connections == 0 {
		f.connections = 1
	}
	n, err := len(batch), error(nil)
	switch {
	case len(f.script) > 0:
		step := f.script[0]
		f.script = f.script[1:]
		n, err = step(batch)
	case f.otherwise != nil:
		n, err = f.otherwise(batch)
	}
	for i := range batch[:min(max(n, 0), len(batch))] {
		f.stored = append(f.stored, number(&batch[i]))
	}
	return n, err
}

func (f *fake) Connections() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connections
}

func (f *fake) Close() error {
	f.closed = true
	return nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) has() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stored)
}

func span(from, to uint64) []uint64 {
	var all []uint64
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

func result(n int, err error) func([]envelope.Message) (int, error) {
	return func([]envelope.Message) (int, error) { return n, err }
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (q *queue) position() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.freed
}
