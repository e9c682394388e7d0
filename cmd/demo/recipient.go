package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// reader is the recipient: he reads the stream over TLS, knows the trust file
// and has one identity. He shares nothing with the gateway.
type reader struct {
	mu       sync.Mutex
	envelope *envelope.Reader
	refused  []string
	hooks    hooks
	arrivals map[string][]arrival // machine/point → in order
	clear    uint64
	passed   uint64
	opened   uint64
	signed   uint64
	last     []envelope.Delivery // since newest was called
}

// newReader makes a recipient. With now he does not wait for signatures.
func newReader(p *plant, now bool, h hooks) (*reader, error) {
	trust, problems := configs.LoadTrust(p.path("trust.yaml"))
	if trust == nil {
		return nil, fmt.Errorf("the trust file: %v", problems)
	}
	id, err := p.identity()
	if err != nil {
		return nil, err
	}
	g := trust.Gateways[gatewayName]
	return &reader{
		envelope: envelope.NewReader(envelope.ReaderOptions{
			Trust:      &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{gatewayName: {{Public: g.SigningKey, Until: g.Until}}}},
			Identities: []*envelope.Identity{id},
			Now:        now,
		}),
		hooks:    h,
		arrivals: make(map[string][]arrival),
	}, nil
}

// read reads the stream until its present end, or without one until ctx ends.
func (r *reader) read(ctx context.Context, p *plant, untilEnd bool) error {
	t, err := p.readerTLS()
	if err != nil {
		return err
	}
	err = nats.Consume(ctx, nats.ConsumeConfig{
		Servers: []string{p.nats.URL()}, Stream: streamName, Prefix: prefix, TLS: t, FromStart: true, UntilEnd: untilEnd,
		Foreign: func(err error) { r.refuse(err) },
	}, r.message)
	if ctx.Err() != nil {
		err = nil // ended as asked
	}
	return err
}

func (r *reader) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, err.Error())
}

func (r *reader) message(m envelope.Message) error {
	if r.hooks.message != nil && !r.hooks.message(&m) {
		return nil
	}
	deliveries, err := r.envelope.Read(&m)
	var refusal *envelope.Refusal
	if errors.As(err, &refusal) {
		r.refuse(refusal)
	} else if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range deliveries {
		r.take(&deliveries[i])
	}
	return nil
}

// take counts, in samples. Those without a value, which say that a machine was
// not reached, are not counted: the machine gave none out.
func (r *reader) take(d *envelope.Delivery) {
	if r.hooks.deliver != nil {
		r.hooks.deliver(d)
	}
	var n uint64
	for _, s := range d.Samples {
		if s.Value.Kind() == envelope.NoValue {
			continue
		}
		n++
		key := d.Stream.Machine + "/" + s.Name
		r.arrivals[key] = append(r.arrivals[key], arrival{time: s.Time, value: s.Value})
	}
	switch {
	case d.Kind == envelope.Passthrough:
		n = 1
		r.passed++
		key := d.Stream.Machine + "/" + d.Point
		r.arrivals[key] = append(r.arrivals[key], arrival{d.Time, envelope.OfBytes(slices.Clone(d.Payload)), true})
	case d.Sealed:
		r.opened += n
	default:
		r.clear += n
	}
	if d.Proof == envelope.Signed {
		r.signed += n
	}
	r.last = append(r.last, *d)
}

// count tells how many values of a point came.
func (r *reader) count(machine, point string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uint64(len(r.arrivals[machine+"/"+point]))
}

// newest gives what was delivered since the last call.
func (r *reader) newest() []envelope.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.last
	r.last = nil
	return last
}

// upstream is what the broker has: every byte of it.
type upstream struct {
	messages uint64
	bytes    uint64
	raw      [][]byte // subject, headers and body of each message
}

// look reads the whole stream as the broker's owner sees it.
func look(p *plant) (*upstream, error) {
	u := &upstream{}
	err := p.nats.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, streamName)
		if err != nil {
			return err
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				return err
			}
			var raw bytes.Buffer
			raw.WriteString(m.Subject + "\n")
			if err := writeHeader(&raw, m.Header); err != nil {
				return err
			}
			raw.Write(m.Data)
			u.messages++
			u.bytes += uint64(raw.Len())
			u.raw = append(u.raw, raw.Bytes())
		}
		return nil
	})
	return u, err
}

func writeHeader(b *bytes.Buffer, h map[string][]string) error {
	for k, vs := range h {
		for _, v := range vs {
			if _, err := fmt.Fprintf(b, "%s: %s\n", k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// count tells how often one of the texts stands in what the broker has.
func (u *upstream) count(texts [][]byte) (n int) {
	for _, raw := range u.raw {
		for _, t := range texts {
			n += bytes.Count(raw, t)
		}
	}
	return n
}

// stored gives the newest message of a subject, as the broker has it.
func (p *plant) stored(subject string) (body []byte, err error) {
	err = p.nats.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, streamName)
		if err != nil {
			return err
		}
		m, err := s.GetLastMsgForSubject(ctx, subject)
		if err == nil {
			body = m.Data
		}
		return err
	})
	return body, err
}
