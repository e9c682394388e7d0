package modbus

import "time"

// Hasten shortens the waits of a source for tests.
func (s *Source) Hasten(minWait, maxWait, retryRefused time.Duration) {
	s.minWait, s.maxWait, s.retryRefused = minWait, maxWait, retryRefused
}

// Ended is closed when a dial or request that Run did not wait for has ended.
func (s *Source) Ended() <-chan struct{} { return s.ended }

// OwedFor shortens the time in which a late answer may still come.
func (s *Source) OwedFor(d time.Duration) { s.owedFor = d }
