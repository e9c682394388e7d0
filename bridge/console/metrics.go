// Package console shows a gateway's status to programs: Prometheus metrics, and
// the local control socket behind `fieldseal status`.
package console

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fieldseal/fieldseal/bridge/status"
)

// Metrics serves Prometheus metrics made from one status at each scrape. No
// label ever carries a value read from a machine.
func Metrics(now func() status.Gateway) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newCollector(now))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// Control serves what the command line asks a running gateway, for a socket
// that only its owner can reach.
func Control(now func() status.Gateway) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(now()) // the client is gone where this fails
	})
	return mux
}

// collector turns a status into metrics.
type collector struct {
	now  func() status.Gateway
	info *prometheus.Desc

	up, samples, points, lastSamples     *prometheus.Desc
	accepted, signed                     *prometheus.Desc
	commits, messages, stalled           *prometheus.Desc
	waiting, waitingBytes, oldest, lost  *prometheus.Desc
	size, maxSize                        *prometheus.Desc
	delivered, deliveredBytes, resent    *prometheus.Desc
	quarantined, delivering, lastStored  *prometheus.Desc
	leftOut, exceptionEndDays, eventsLog *prometheus.Desc
	clockTrusted                         *prometheus.Desc
}

func newCollector(now func() status.Gateway) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fieldseal_"+name, help, labels, nil)
	}
	return &collector{
		now:              now,
		info:             desc("info", "Always 1; what runs here.", "gateway", "version", "policy", "revision"),
		up:               desc("machine_up", "1 while the machine is connected and answers.", "machine", "security"),
		samples:          desc("samples_total", "Samples by what became of them; taken is all of them, bad those without a good quality.", "machine", "treatment"),
		points:           desc("points", "Points by how they leave now.", "machine", "treatment"),
		lastSamples:      desc("machine_last_samples_seconds", "Unix time of the newest samples.", "machine"),
		accepted:         desc("stream_accepted_sequence", "Number of the newest message that the outbox has on disk.", "machine", "level"),
		signed:           desc("stream_signed_sequence", "Number of the newest checkpoint.", "machine", "level"),
		commits:          desc("commits_total", "Commits to the outbox."),
		messages:         desc("messages_accepted_total", "Messages that the outbox has taken."),
		stalled:          desc("outbox_stalled", "1 while the outbox accepts nothing and machines are not polled."),
		waiting:          desc("outbox_messages", "Messages accepted and not yet stored upstream."),
		waitingBytes:     desc("outbox_bytes", "Bytes of those messages."),
		oldest:           desc("outbox_oldest_seconds", "Unix time of the oldest of those messages; 0 for none."),
		lost:             desc("outbox_lost_messages_total", "Messages given up by the overflow rule, by age or in quarantine. Signed loss records say which."),
		size:             desc("outbox_size_bytes", "Size on disk."),
		maxSize:          desc("outbox_max_size_bytes", "Greatest size on disk."),
		delivered:        desc("uplink_messages_total", "Messages stored upstream.", "uplink"),
		deliveredBytes:   desc("uplink_bytes_total", "Bytes stored upstream.", "uplink"),
		resent:           desc("uplink_resent_total", "Key frames sent again and messages sent more than once.", "uplink"),
		quarantined:      desc("uplink_quarantined_total", "Messages that the uplink can never accept.", "uplink"),
		delivering:       desc("uplink_delivering", "1 while messages are stored upstream or none waits.", "uplink"),
		lastStored:       desc("uplink_last_stored_seconds", "Unix time at which a message was last stored upstream; 0 for never.", "uplink"),
		leftOut:          desc("machines_left_out", "Machines whose configuration is wrong."),
		exceptionEndDays: desc("exception_days_left", "Days until the exception ends; 0 while it does not count: after that, or because of the clock.", "allow", "where"),
		clockTrusted:     desc("clock_trusted", "1 while the clock is trusted, so that exceptions count."),
		eventsLog:        desc("events_total", "Events written to the event log."),
	}
}

// Describe implements prometheus.Collector. The metrics depend on the status,
// so none is promised.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.info, 1, s.Gateway, s.Version, s.Policy.Name, strconv.Itoa(s.Policy.Revision))
	for _, m := range s.Machines {
		gauge(c.up, truth(m.State == "up"), m.Name, m.Security)
		gauge(c.lastSamples, unix(m.Last), m.Name)
		for treatment, n := range m.Points {
			gauge(c.points, float64(n), m.Name, treatment)
		}
		for treatment, n := range map[string]uint64{
			"taken": m.Samples.Taken, "bad": m.Samples.Bad, "unreported": m.Samples.Unreported, "clear": m.Samples.Clear,
			"sealed": m.Samples.Sealed, "passthrough": m.Samples.Passthrough, "withheld": m.Samples.Withheld, "held": m.Samples.Held,
		} {
			counter(c.samples, n, m.Name, treatment)
		}
	}
	for _, st := range s.Streams {
		gauge(c.accepted, float64(st.Accepted), st.Machine, st.Level)
		gauge(c.signed, float64(st.Signed), st.Machine, st.Level)
	}
	counter(c.commits, s.Commits.Commits)
	counter(c.messages, s.Commits.Messages)
	gauge(c.stalled, truth(s.Commits.Stalled != ""))
	gauge(c.waiting, float64(s.Outbox.Messages))
	gauge(c.waitingBytes, float64(s.Outbox.Bytes))
	gauge(c.oldest, unix(s.Outbox.Oldest))
	gauge(c.size, float64(s.Outbox.Size))
	gauge(c.maxSize, float64(s.Outbox.MaxSize))
	counter(c.lost, s.Outbox.Lost)
	for _, u := range s.Uplinks {
		counter(c.delivered, u.Messages, u.Name)
		counter(c.deliveredBytes, u.Bytes, u.Name)
		counter(c.resent, u.Resent, u.Name)
		counter(c.quarantined, u.Quarantined, u.Name)
		gauge(c.delivering, truth(u.State == "delivering"), u.Name)
		gauge(c.lastStored, unix(u.LastStored), u.Name)
	}
	gauge(c.leftOut, float64(len(s.LeftOut)))
	gauge(c.clockTrusted, truth(s.Clock.Trusted))
	for _, e := range s.Exceptions {
		left := 0.0
		if !e.Over {
			left = e.Until.Sub(s.Time).Hours() / 24
		}
		gauge(c.exceptionEndDays, max(left, 0), e.Allow, e.Where)
	}
	counter(c.eventsLog, s.Events)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
