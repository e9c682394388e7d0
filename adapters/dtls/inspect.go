package dtls

import (
	"context"
	"sync"
)

// Seen is what one hub says to a gateway that has nothing to send.
type Seen struct {
	Server  string
	Welcome Welcome // where it publishes, if Err is nil
	Err     error   // *envelope.Fault, or why there is no connection
}

// Inspect connects to each of the servers as a gateway does, hears where the hub
// publishes, and hangs up: nothing is sent. An error is one of the configuration.
// A hub that has as many connections of the gateway as it takes ends the oldest.
func Inspect(ctx context.Context, cfg Config) ([]Seen, error) {
	u, err := New(cfg)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	seen := make([]Seen, len(cfg.Servers))
	var all sync.WaitGroup
	for i, server := range cfg.Servers {
		all.Go(func() {
			l, err := u.dialOne(ctx, server, 1)
			seen[i] = Seen{Server: server, Err: err}
			if err == nil {
				seen[i].Welcome = l.welcome
				l.close(errClosed)
			}
		})
	}
	all.Wait()
	return seen, nil
}
