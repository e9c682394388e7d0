package configs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "0": 0, "0s": 0,
	} {
		got, err := parseDuration(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "800", "1.5", "d", "1.5d", "-7d", "7d-1h", "7dd", "70000d", "7 d", "1y", "nan"} {
		_, err := parseDuration(s)
		assert.Error(t, err, s)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1KiB": 1 << 10, "512MiB": 512 << 20, "2GiB": 2 << 30} {
		got, err := parseSize(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "MiB", "512", "512MB", "512 MiB", "-1MiB", "0.5GiB", "010MiB", "99999999999GiB", "1MiB2"} {
		_, err := parseSize(s)
		assert.Error(t, err, s)
	}
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "10": 10, "-3": -3, "0x64": 100, "-9223372036854775808": -1 << 63} {
		got, err := parseInt(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "-", "--1", "+1", "010", "-010", "1_0", "0o17", "0x", "1.0", "1e3", "9223372036854775808"} {
		_, err := parseInt(s)
		assert.Error(t, err, s)
	}
}

// Clocks that change at midnight have it twice or not at all.
func TestParseUntil(t *testing.T) {
	for _, c := range []struct{ zone, last, want string }{
		{"Europe/Berlin", "2027-03-31", "2027-03-31T22:00:00Z"},
		{"UTC", "2028-02-29", "2028-03-01T00:00:00Z"},
		{"Africa/Cairo", "2026-04-23", "2026-04-23T22:00:00Z"},       // 00:00 is 01:00 on the 24th
		{"America/Havana", "2026-10-31", "2026-11-01T04:00:00Z"},     // 01:00 is 00:00 again
		{"Pacific/Kiritimati", "2026-11-22", "2026-11-22T10:00:00Z"}, // +14
		{"Etc/GMT+12", "2026-11-22", "2026-11-23T12:00:00Z"},
	} {
		loc, err := time.LoadLocation(c.zone)
		require.NoError(t, err)
		got, err := parseUntil(c.last, loc)
		require.NoError(t, err)
		assert.Equal(t, c.want, got.UTC().Format(time.RFC3339), c.zone)
	}
	for _, s := range []string{"", "2027-02-30", "2027-3-1", "31.3.2027", "2027-03-31T00:00:00Z"} {
		_, err := parseUntil(s, time.UTC)
		assert.Error(t, err, s)
	}
}

// The last instant of a day is on it, and the next one is not.
func TestParseUntilIsTheDayAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Auckland"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		date := time.Unix(rapid.Int64Range(1767225600, 2082758400).Draw(t, "day"), 0).UTC().Format(time.DateOnly)
		end, err := parseUntil(date, loc)
		if err != nil {
			t.Fatal(err)
		}
		if got := end.Add(-time.Nanosecond).In(loc).Format(time.DateOnly); got != date {
			t.Fatalf("the last instant of %s is on %s", date, got)
		}
		if got := end.In(loc).Format(time.DateOnly); got <= date {
			t.Fatalf("%s ends on %s", date, got)
		}
	})
}

func TestNearest(t *testing.T) {
	words := []string{"unit", "unit_id", "type", "poll", "order"}
	for s, want := range map[string]string{"unti": "unit", "typ": "type", "Poll": "poll", "oder": "order", "unitid": "unit_id", "frequency": "", "x": ""} {
		got, _ := nearest(s, words)
		assert.Equal(t, want, got, s)
	}
}

func TestQuote(t *testing.T) {
	assert.Equal(t, "'kN'", quote("kN"))
	assert.Equal(t, `"\x1b[31m"`, quote("\x1b[31m"))
	assert.Equal(t, `"a\u202eb"`, quote("a\u202eb"))
	assert.Len(t, []rune(quote(string(make([]byte, 500)))), 2+48*4+6)
}
