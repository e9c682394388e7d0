package bridge

import (
	"time"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
)

const (
	certificatesEvery = time.Hour      // they are looked at: some last a day
	certificateAgain  = 24 * time.Hour // it is said again that one ends
)

// certificateWatch says which of the gateway's own certificates end, so that nobody
// learns of it from a server that turns the gateway away.
type certificateWatch struct {
	keys   *keystore.Store
	looked time.Time
	said   map[string]time.Time // by what was said: that it ends, and that it ended
}

func (w *certificateWatch) look(now time.Time, c *configs.Config) (events []stream.Event) {
	if !w.looked.IsZero() && now.Sub(w.looked).Abs() < certificatesEvery {
		return nil
	}
	w.looked = now
	used := certificatesOf(c)
	for _, k := range w.keys.List() {
		ends := k.Ends(now)
		if ends == "" || !used[k.Name] {
			continue
		}
		if said, ok := w.said[ends]; !ok || now.Sub(said).Abs() >= certificateAgain {
			w.said[ends] = now
			events = append(events, stream.Event{Name: "certificate-ends", Text: ends + "; " + k.Renew()})
		}
	}
	return events
}

// certificatesOf are the names of the certificates that the gateway shows to others.
func certificatesOf(c *configs.Config) map[string]bool {
	used := make(map[string]bool)
	for i := range c.Uplinks {
		switch u := &c.Uplinks[i]; {
		case u.NATS != nil:
			used[u.NATS.Certificate] = true
		case u.DTLS != nil:
			used[u.DTLS.Certificate] = true
		}
	}
	for i := range c.Machines {
		switch m := &c.Machines[i]; {
		case m.OPCUA != nil:
			used[m.OPCUA.Certificate] = true
		case m.CoAP != nil:
			used[m.CoAP.Certificate] = true
		}
	}
	return used
}
