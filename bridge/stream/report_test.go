package stream

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

func TestReport(t *testing.T) {
	const second = int64(time.Second)
	float := func(at int64, f float64) point.Sample {
		return point.Sample{Time: at * second, Value: point.OfFloat(f)}
	}
	bad := func(at int64) point.Sample {
		return point.Sample{Time: at * second, Quality: point.BadTimeout}
	}
	text := func(at int64, s string) point.Sample {
		return point.Sample{Time: at * second, Value: point.OfText([]byte(s))}
	}
	for _, c := range []struct {
		name    string
		report  Report
		samples []point.Sample
		sent    []bool
	}{
		{
			"without a filter every poll",
			Report{},
			[]point.Sample{float(0, 1), float(1, 1), float(2, 1)},
			[]bool{true, true, true},
		},
		{
			"on change",
			Report{OnChange: true},
			[]point.Sample{float(0, 1), float(1, 1), float(2, 2), text(3, "a"), text(4, "a"), text(5, "b")},
			[]bool{true, false, true, true, false, true},
		},
		{
			"deadband against the last sent value, so that a drift goes out",
			Report{OnChange: true, Deadband: 5},
			[]point.Sample{float(0, 100), float(1, 104), float(2, 104.9), float(3, 105), float(4, 101), float(5, 100)},
			[]bool{true, false, false, true, false, true},
		},
		{
			"heartbeat",
			Report{OnChange: true, Deadband: 5, AtLeastEvery: 10 * time.Second},
			[]point.Sample{float(0, 1), float(9, 1), float(10, 1), float(19, 1), float(20, 1)},
			[]bool{true, false, true, false, true},
		},
		{
			"bad quality once on change, then at the heartbeat, and the first good one",
			Report{OnChange: true, AtLeastEvery: 10 * time.Second},
			[]point.Sample{float(0, 1), bad(1), bad(2), bad(11), float(12, 1)},
			[]bool{true, true, false, true, true},
		},
		{
			"bad quality once, without a filter too",
			Report{},
			[]point.Sample{bad(0), bad(1), float(2, 1), float(3, 1), bad(4)},
			[]bool{true, false, true, true, true},
		},
		{
			"a value that is no number always goes out",
			Report{OnChange: true, Deadband: 1},
			[]point.Sample{float(0, 1), float(1, math.NaN()), float(2, math.NaN())},
			[]bool{true, true, true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var last reported
			for i := range c.samples {
				sent := c.report.wants(&last, &c.samples[i])
				require.Equal(t, c.sent[i], sent, "sample %d", i)
				if sent {
					c.report.note(&last, &c.samples[i])
				}
			}
		})
	}
}

// A clock that is set back does not silence the heartbeat until it has caught up.
func TestReportAfterTheClockWasSetBack(t *testing.T) {
	r, last := Report{OnChange: true, AtLeastEvery: time.Minute}, reported{}
	s := point.Sample{Time: int64(time.Hour), Value: point.OfInt(1)}
	r.note(&last, &s)
	s.Time = int64(time.Hour + time.Second)
	assert.False(t, r.wants(&last, &s))
	s.Time = int64(time.Hour - time.Second)
	assert.True(t, r.wants(&last, &s))
}
