package bridge

import (
	"time"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
)

// certificatesEvery is how often it is said that certificates end.
const certificatesEvery = 24 * time.Hour

// certificateWatch says once a day which of the gateway's own certificates end, so
// that nobody learns of it from a server that turns the gateway away.
type certificateWatch struct {
	keys   *keystore.Store
	looked time.Time
}

// look gives the events of one day, and none on the rest of it.
func (w *certificateWatch) look(now time.Time, c *configs.Config) (events []stream.Event) {
	if !w.looked.IsZero() && now.Sub(w.looked).Abs() < certificatesEvery {
		return nil
	}
	w.looked = now
	used := certificatesOf(c)
	for _, k := range w.keys.List() {
		if ends := k.Ends(now); ends != "" && used[k.Name] {
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
