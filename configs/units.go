package configs

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a container has no zone files
)

const day = 24 * time.Hour

// errNoUnit is the error of a bare number where a unit is needed.
var errNoUnit = errors.New("has no unit")

// parseDuration reads what time.ParseDuration reads, and days in front: "7d",
// "1d12h".
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, errNoUnit
	}
	days, rest, hasDays := strings.Cut(s, "d")
	if !hasDays {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, errors.New("days are whole numbers up to 65535")
	}
	d := time.Duration(n) * day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more > math.MaxInt64-d {
		return 0, errors.New("what follows the days is no duration")
	}
	return d + more, nil
}

// parseSize reads a number of bytes: 512MiB.
func parseSize(s string) (int64, error) {
	end := strings.LastIndexAny(s, "0123456789") + 1
	shift, ok := map[string]uint{"KiB": 10, "MiB": 20, "GiB": 30}[s[end:]]
	if !ok {
		return 0, errors.New("the units are KiB, MiB and GiB")
	}
	n, err := parseInt(s[:end])
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, errors.New("the number in front of the unit is none")
	}
	return n << shift, nil
}

// parseInt reads a decimal without leading zeros, or 0x and hexadecimal. YAML
// programs differ in how they read 010; so it is no number here.
func parseInt(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	base := 10
	if h, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = h, 16
	} else if len(digits) > 1 && digits[0] == '0' && digits[1] > '9' { // 0o7, 0b1
		return 0, fmt.Errorf("is no decimal number")
	} else if len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("has leading zeros")
	}
	if digits == "" || strings.ContainsAny(digits, "+-_") {
		return 0, fmt.Errorf("is no whole number")
	}
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits, base, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("is too large")
	}
	if err != nil {
		return 0, fmt.Errorf("is no whole number")
	}
	return n, nil
}

// parseUntil reads a last day and gives the first instant after it.
func parseUntil(s string, loc *time.Location) (time.Time, error) {
	last, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, errors.New("is no date")
	}
	return startOfDay(last.AddDate(0, 0, 1), loc), nil
}

// startOfDay gives the first instant of a day in a time zone. Midnight is not
// always one: clocks that change at midnight skip it or have it twice.
func startOfDay(date time.Time, loc *time.Location) time.Time {
	want := date.Format(time.DateOnly)
	from := date.Add(-day)
	hit := sort.Search(3*int(day/time.Second), func(i int) bool {
		return from.Add(time.Duration(i)*time.Second).In(loc).Format(time.DateOnly) >= want
	})
	return from.Add(time.Duration(hit) * time.Second).In(loc)
}
