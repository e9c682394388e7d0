package dtls

import (
	"context"
	"time"
)

// inspectTime is for one hub: its handshake and its welcome.
const inspectTime = 4 * time.Second

// Seen is what one hub says to a gateway that has nothing to send.
type Seen struct {
	Server  string
	Welcome Welcome // where it publishes, if Err is nil
	Err     error   // *envelope.Fault, or why there is no connection
	Late    bool    // ctx ended before it had its time to answer
}

// Inspect connects to each of the servers in turn as a gateway does, hears where the
// hub publishes, and hangs up: nothing is sent. An error is one of the configuration.
// A hub that has as many connections of the gateway as it takes ends the oldest:
// this one is one more.
func Inspect(ctx context.Context, cfg Config) ([]Seen, error) {
	u, err := New(cfg)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	var all []Seen
	for _, server := range cfg.Servers {
		all = append(all, u.inspect(ctx, server))
	}
	return all, nil
}

func (u *Uplink) inspect(ctx context.Context, server string) Seen {
	short, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	l, err := u.dialOne(short, server, 1)
	if err != nil {
		return Seen{Server: server, Err: err, Late: ctx.Err() != nil}
	}
	defer l.close(errClosed)
	return Seen{Server: server, Welcome: l.welcome}
}
