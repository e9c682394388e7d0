package console

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fieldseal/fieldseal/bridge/status"
)

// TestExceptionMetrics: the days that an exception has left, and none while it
// does not count.
func TestExceptionMetrics(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := status.Gateway{Time: now, Clock: status.Clock{Trusted: true}, Exceptions: []status.Exception{
		{Allow: "connection-not-encrypted", Where: "policy.yaml:26", Until: now.Add(36 * time.Hour)},
		{Allow: "connection-not-encrypted", Where: "policy.yaml:27", Until: now.Add(-time.Hour), Over: true},
	}}
	scrape := func() string {
		w := httptest.NewRecorder()
		Metrics(func() status.Gateway { return s }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	got := scrape()
	assert.Contains(t, got, "fieldseal_clock_trusted 1\n")
	assert.Contains(t, got, `fieldseal_exception_days_left{allow="connection-not-encrypted",where="policy.yaml:26"} 1.5`+"\n")
	assert.Contains(t, got, `fieldseal_exception_days_left{allow="connection-not-encrypted",where="policy.yaml:27"} 0`+"\n")

	s.Clock.Trusted, s.Exceptions[0].Over = false, true
	got = scrape()
	assert.Contains(t, got, "fieldseal_clock_trusted 0\n")
	assert.Contains(t, got, `where="policy.yaml:26"} 0`+"\n")
}
