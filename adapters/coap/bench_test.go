package coap

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// BenchmarkHandshake is what a device costs that connects, both ends.
func BenchmarkHandshake(b *testing.B) {
	s := newSite(b, nil, sensor("keyed"))
	c := s.issue("anything", nil)
	s.attach(pinned("pinned", c))
	for name, options := range map[string][]dtls.ClientOption{
		"key":            byKey("keyed", theKey),
		"key, ephemeral": append(byKey("keyed", theKey), dtls.WithCipherSuites(dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256)),
		"certificate":    byCertificate(c),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = s.connect(options...).Close()
			}
		})
	}
}

// BenchmarkPost is one message and its answer, over loopback, both ends.
func BenchmarkPost(b *testing.B) {
	at := time.Now()
	s := newSite(b, func(s *site) { s.now = func() time.Time { at = at.Add(time.Second); return at } })
	require.NoError(b, s.Attach(point.Machine{Name: "keyed", Spec: sensor("keyed")}, &sized{b}))
	d := s.connect(byKey("keyed", theKey)...)
	payload := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, codes.Changed, d.ask(codes.POST, "/vibration", payload).Code)
	}
}

// BenchmarkSessions is what a device costs that is there.
func BenchmarkSessions(b *testing.B) {
	const many = 500
	s := newSite(b, func(s *site) { s.limits.perHost = many })
	for i := range many {
		require.NoError(b, s.Attach(point.Machine{Name: fmt.Sprint(i), Spec: sensor(fmt.Sprint(i))}, &sized{b}))
	}
	for b.Loop() {
		before, goroutines := heap(), runtime.NumGoroutine()
		devices := make([]*device, many)
		for i := range devices {
			devices[i] = s.connect(byKey(fmt.Sprint(i), theKey)...)
			require.Equal(b, codes.Changed, devices[i].post("/vibration", "x"))
		}
		b.ReportMetric(float64(heap()-before)/many/1024, "kB/both-ends")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/many, "goroutines/both-ends")
		for _, d := range devices {
			_ = d.Close()
		}
	}
}
