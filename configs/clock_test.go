package configs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where the clock cannot be trusted no exception counts, whatever time it says, and
// that is not said as if it had ended. Nothing else that has a date is in doubt.
func TestClockThatCannotBeTrusted(t *testing.T) {
	const why = "it is not synchronised"
	for _, day := range []string{"2026-11-22", "2027-03-20", "2027-04-20", "2031-01-01"} {
		options := at(day)
		options.Untrusted = why
		c, problems := Load("testdata/good/gateway.yaml", options)
		require.NotNil(t, c)
		require.Equal(t, []string{"testdata/good/policy.yaml:17:109: the exception 'connection-not-encrypted' (policy.yaml:17) does not count while the clock cannot be trusted, " +
			"and the gateway decides so now: press-3/ram-force and press-3/program-name stop (it is not synchronised); have the clock synchronised: then it counts again, up to 2027-03-31"}, texts("", problems))
		require.True(t, problems[0].Stops)
	}

	// One that nothing needs stops nothing, and where files cannot be read nobody knows.
	dir := overlay(t, "testdata/good")
	policyFile, machine := dir+"/policy.yaml", dir+"/machines/press-3.yaml"
	load := func() []string {
		options := at("2026-11-22")
		options.Untrusted = why
		_, problems := Load(dir+"/gateway.yaml", options)
		return texts(dir, problems)
	}
	b, err := os.ReadFile(policyFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(policyFile, []byte(strings.Replace(string(b), `points: ["press-3/*"]`, `points: ["press-8/*"]`, 1)), 0o600))
	got := strings.Join(load(), "\n")
	assert.NotContains(t, got, "does not count")
	assert.Contains(t, got, `points: ["press-3/ram-force", "press-3/program-name"], why: "", until: DAY}`)
	require.NoError(t, os.WriteFile(machine, []byte("nonsense"), 0o600))
	assert.Contains(t, strings.Join(load(), "\n"), "decides so now: the points it covers stop (")
}
