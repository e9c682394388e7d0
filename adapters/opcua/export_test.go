package opcua

import (
	"context"
	"time"
)

// Hasten makes a pool less patient than plants need it.
func (p *Pool) Hasten() {
	p.pace = pace{
		keepAlive: 300 * time.Millisecond, minWait: 50 * time.Millisecond, maxWait: 200 * time.Millisecond,
		refusedWait: 200 * time.Millisecond, retryBad: 500 * time.Millisecond, token: time.Hour,
	}
	p.restart = 50 * time.Millisecond
}

// Renew sets how long the keys of a channel live.
func (p *Pool) Renew(d time.Duration) { p.pace.token = d }

// Innocence sets how long a worker alone has to live to clear its endpoint.
func (p *Pool) Innocence(d time.Duration) { p.innocence = d }

// Forget sets after which time a loss is no news any more.
func (p *Pool) Forget(d time.Duration) { p.forget = d }

// Patient lets a pool wait longer before it takes silence for the end, for tests
// that count connections on a busy machine.
func (p *Pool) Patient() { p.pace.keepAlive = 3 * time.Second }

// MaxCells is how many workers the endpoints of one that died are given.
const MaxCells = maxCells

// Worker gives the process id of a source's worker, 0 where it has none.
func (s *Source) Worker() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker == nil {
		return 0
	}
	return s.worker.cmd.Process.Pid
}

// MaxWaiting is how many samples may wait for one sink.
const MaxWaiting = maxWaiting

// Dial opens a secure channel as a session does, and closes it.
func Dial(ctx context.Context, s Spec, cert []byte) error {
	c, err := dial(ctx, &s, cert, time.Hour)
	if err == nil {
		c.drop()
	}
	return err
}

// Judge is what a gate says of one chunk.
func Judge(policy string, cert, chunk []byte) error {
	return (&gate{policy: policy, cert: cert}).judge(chunk)
}
