package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// Where the clock cannot be trusted every exception is over, and nothing else
// changes: what leaves without one leaves the same at any time.
func TestEndOfDays(t *testing.T) {
	p := plant(t)
	p.Exceptions = append(p.Exceptions, policy.Exception{
		Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-4/*"), Until: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600)),
	})
	require.True(t, policy.EndOfDays().After(time.Date(292_000_000_000, 1, 1, 0, 0, 0, 0, time.UTC)))
	points := []policy.Point{
		{Name: "force", Label: "restricted"},
		{Name: "state", Label: "public"},
		{Name: "oil", Label: "internal"},
		{Name: "key", Label: "secret"},
		{Name: "log", Label: "restricted", Passthrough: "cose", ReadableBy: []string{"process"}},
	}
	without := *p
	without.Exceptions = nil
	for _, machine := range []string{"press-3", "press-4"} {
		for grade := point.AnyConnection; grade <= point.Encrypted; grade++ {
			got := p.Compile(machine, points, grade, policy.EndOfDays())
			require.Zero(t, got.Until)
			require.Equal(t, without.Compile(machine, points, grade, now), got)
		}
		require.Equal(t, policy.Sealed, p.Compile(machine, points, point.AnyConnection, now).Decisions[0].Treatment, "with a clock that can be trusted")
	}
}

// Of several exceptions for a point the one that lasts longest counts; one for
// another thing, another point or a day that is past does not.
func TestTheLongestExceptionCounts(t *testing.T) {
	day := func(n int) time.Time { return now.AddDate(0, 0, n) }
	force := []policy.Point{{Name: "force", Label: "restricted"}}
	p := plant(t)
	p.Exceptions = []policy.Exception{
		{Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-3/*"), Until: day(1)},
		{Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "*/force"), Until: day(5)},
		{Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-3/force"), Until: day(3)},
		{Allow: policy.ConnectionNotAuthenticated, Points: patterns(t, "*/*"), Until: day(9)},
		{Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-3/other"), Until: day(8)},
	}
	for at, want := range map[time.Time]time.Time{
		now: day(5), day(3): day(5), day(5).Add(-time.Nanosecond): day(5), day(5): {}, day(7): {},
	} {
		got := p.Compile("press-3", force, point.Authenticated, at)
		require.Equal(t, want, got.Until)
		require.Equal(t, want.IsZero(), got.Decisions[0].Treatment == policy.Withheld)
	}

	p.Levels[2].Connection = point.Authenticated
	require.Equal(t, day(9), p.Compile("press-3", force, point.AnyConnection, now).Until)
	require.Zero(t, p.Compile("press-3", force, point.Authenticated, now).Until)

	both := append(force, policy.Point{Name: "other", Label: "restricted"})
	p.Levels[2].Connection = point.Encrypted
	require.Equal(t, day(5), p.Compile("press-3", both, point.AnyConnection, now).Until, "the first that ends")
}
