package stream

import (
	"math"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Report says which samples of a point are worth sending. The zero value sends
// every one.
type Report struct {
	OnChange     bool          // send only what differs from what was sent last
	Deadband     float64       // engineering units, ≥ 0: what a number must differ by, against the last *sent* value
	AtLeastEvery time.Duration // send anyway when this much time has passed since the last one; 0: never
}

// reported is the filter's memory of one point: what was sent last.
type reported struct {
	sent    bool // something was, since the last connect
	time    int64
	quality point.Quality
	value   point.Value
}

// wants tells whether a sample goes out. It changes nothing. A clock that was
// set back must not silence the heartbeat until it has caught up.
func (r *Report) wants(last *reported, s *point.Sample) bool {
	switch {
	case !r.OnChange && !s.Quality.IsBad():
		return true
	case !last.sent || s.Quality != last.quality:
		return true
	case r.AtLeastEvery > 0 && (s.Time < last.time || s.Time-last.time >= int64(r.AtLeastEvery)):
		return true
	case s.Quality.IsBad():
		return false // said once; again only at the heartbeat
	}
	was, numeric := last.value.Number()
	is, stillNumeric := s.Value.Number()
	if numeric && stillNumeric && r.Deadband > 0 {
		return !(math.Abs(is-was) < r.Deadband) // written so that NaN goes out
	}
	return !s.Value.Equal(last.value)
}

// note remembers what was sent. Only points with a filter keep the value.
func (r *Report) note(last *reported, s *point.Sample) {
	last.sent, last.time, last.quality = true, s.Time, s.Quality
	if r.OnChange {
		last.value = s.Value.Clone()
	}
}
