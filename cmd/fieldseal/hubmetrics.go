package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fieldseal/fieldseal/bridge/hub"
)

// mostNamed is how many gateways have metrics of their own name; the rest share
// otherGateways, which is no gateway's name.
const (
	mostNamed     = 1000
	otherGateways = "_others"
)

// hubMetrics serves Prometheus metrics made from one status at each scrape.
func hubMetrics(now func() hub.Status) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newHubCollector(now))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// hubCollector turns a hub's status into metrics.
type hubCollector struct {
	now      func() hub.Status
	info     *prometheus.Desc
	ready    *prometheus.Desc
	stale    *prometheus.Desc
	trusted  *prometheus.Desc
	until    *prometheus.Desc
	gateways *prometheus.Desc
	waiting  *prometheus.Desc
	counters []hubCounter
}

type hubCounter struct {
	desc *prometheus.Desc
	of   func(*hub.Status) uint64
}

func newHubCollector(now func() hub.Status) *hubCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fieldseal_hub_"+name, help, labels, nil)
	}
	counter := func(name, help string, of func(*hub.Status) uint64) hubCounter {
		return hubCounter{desc(name+"_total", help), of}
	}
	return &hubCollector{
		now:      now,
		info:     desc("info", "Always 1; what runs here.", "version"),
		ready:    desc("ready", "1 while the stream behind the hub answers."),
		stale:    desc("revocations_stale", "1 while a revocation list is past its next update; it stays in force."),
		trusted:  desc("trust_problem", "1 while the files of authorities or revocation lists cannot be taken over; what was in force stays."),
		until:    desc("gateway_certificate_until_seconds", "Unix time at which the certificate of a connected gateway expires.", "gateway"),
		gateways: desc("connections", "Connections of gateways.", "gateway"),
		waiting:  desc("messages_waiting", "Messages received and not yet answered.", "gateway"),
		counters: []hubCounter{
			counter("messages_received", "Messages that arrived, whatever became of them.", func(s *hub.Status) uint64 { return s.Received }),
			counter("messages_stored", "Messages that the stream acknowledged.", func(s *hub.Status) uint64 { return s.Stored }),
			counter("messages_refused", "Messages that can never be accepted.", func(s *hub.Status) uint64 { return s.Refused }),
			counter("impostors", "Hellos and messages under the name of another gateway.", func(s *hub.Status) uint64 { return s.Impostors }),
			counter("connections_accepted", "Gateways that got through to their hello.", func(s *hub.Status) uint64 { return s.Accepted }),
			counter("handshakes_failed", "Handshakes that failed: certificate, cipher suite, time, garbage.", func(s *hub.Status) uint64 { return s.Rejected }),
			counter("handshakes_over_limit", "Handshakes turned away because there were too many.", func(s *hub.Status) uint64 { return s.TurnedAway }),
			counter("handshakes_evicted", "Half-open handshakes that made place for newer ones.", func(s *hub.Status) uint64 { return s.Evicted }),
			counter("datagrams_dropped", "Datagrams that belonged to nothing, or for which there was no room.", func(s *hub.Status) uint64 { return s.Dropped }),
			counter("connections_full", "Gateways turned away because there were too many connections.", func(s *hub.Status) uint64 { return s.Full }),
			counter("connections_distrusted", "Connections ended because the certificate was revoked or had expired.", func(s *hub.Status) uint64 { return s.Distrusted }),
			counter("connections_superseded", "Connections that a newer one of the same gateway replaced.", func(s *hub.Status) uint64 { return s.Superseded }),
			counter("connections_silent", "Connections ended because nothing came.", func(s *hub.Status) uint64 { return s.Reaped }),
			counter("stream_faults", "Connections ended because the stream needs somebody to configure it.", func(s *hub.Status) uint64 { return s.Faults }),
		},
	}
}

// Describe implements prometheus.Collector. The metrics depend on the status,
// so none is promised.
func (c *hubCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *hubCollector) Collect(out chan<- prometheus.Metric) {
	s := c.now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.info, 1, version())
	gauge(c.ready, oneIf(s.NotReady == ""))
	gauge(c.stale, oneIf(s.Trust.Stale))
	gauge(c.trusted, oneIf(s.Trust.Problem != ""))
	for _, k := range c.counters {
		out <- prometheus.MustNewConstMetric(k.desc, prometheus.CounterValue, float64(k.of(&s)))
	}
	for name, g := range gatewaysOf(s.Sessions) {
		gauge(c.gateways, float64(g.connections), name)
		gauge(c.waiting, float64(g.waiting), name)
		if name != otherGateways {
			gauge(c.until, float64(g.until.Unix()), name)
		}
	}
}

// gatewayMetrics are those of one gateway, or of all that share a name.
type gatewayMetrics struct {
	connections int
	waiting     int64
	until       time.Time
}

func gatewaysOf(sessions []hub.SessionStatus) map[string]*gatewayMetrics {
	all := make(map[string]*gatewayMetrics)
	for i := range sessions {
		x := &sessions[i]
		name := x.Gateway
		if all[name] == nil && len(all) >= mostNamed {
			name = otherGateways
		}
		g := all[name]
		if g == nil {
			g = &gatewayMetrics{}
			all[name] = g
		}
		g.connections++
		g.waiting += x.Waiting
		g.until = x.Until // of the newest: they are oldest first
	}
	return all
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
