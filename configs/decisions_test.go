package configs

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	queue "github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/policy"
)

func names(c *Config) (names []string) {
	for _, m := range c.Machines {
		names = append(names, m.Name)
	}
	return names
}

// Points that ask for more than their connection gives stop; their machine
// starts. What is printed to paste is what the policy takes, once it has a reason.
func TestConnectionTooWeak(t *testing.T) {
	dir := overlay(t, "testdata/mistakes/tree-connection")
	load := func() (*Config, []Problem) { return Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22")) }
	c, problems := load()
	require.NotNil(t, c)
	require.Equal(t, []string{"press-2", "press-1", "press-3", "pump"}, names(c))
	require.Len(t, problems, 2)
	file := filepath.Join(dir, "policy.yaml")
	policy, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, p := range problems {
		require.True(t, p.Stops)
		require.False(t, p.Fatal)
		require.False(t, p.LeavesOut())
		_, stanza, ok := strings.Cut(p.Instead, "\n")
		require.True(t, ok)
		policy = append(policy, stanza+"\n"...)
	}

	require.NoError(t, os.WriteFile(file, policy, 0o644))
	c, problems = load()
	require.Nil(t, c, "an exception without a reason")
	require.Len(t, problems, 2)
	require.Contains(t, problems[0].What, "'why' is an empty text")

	policy = []byte(strings.ReplaceAll(string(policy), `why: ""`, `why: "in the cabinet"`))
	require.NoError(t, os.WriteFile(file, policy, 0o644))
	_, problems = load()
	require.Empty(t, problems)
}

// A file with looser labels is left out, whichever comes first; the stricter
// one goes on.
func TestAWayAroundALabelIsLeftOut(t *testing.T) {
	for _, tree := range []string{"tree-same-registers", "tree-bits"} {
		c, _ := Load(filepath.Join(overlay(t, "testdata/mistakes/"+tree), "gateway.yaml"), at("2026-11-22"))
		require.NotNil(t, c)
		assert.Equal(t, []string{"press-3", "pump"}, names(c), tree)
	}
	dir := overlay(t, "testdata/mistakes/tree-same-registers")
	require.NoError(t, os.Rename(filepath.Join(dir, "machines/a.yaml"), filepath.Join(dir, "machines/z.yaml")))
	c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	assert.Equal(t, []string{"press-3", "pump"}, names(c))
	assert.True(t, problems[0].LeavesOut())
	assert.Equal(t, "press-2", problems[0].Machine)
}

func TestAMachineThatNobodyMayReadIsLeftOut(t *testing.T) {
	c, _ := Load(filepath.Join(overlay(t, "testdata/mistakes/trust-only-nobody.yaml"), "gateway.yaml"), at("2026-11-22"))
	require.NotNil(t, c)
	assert.Equal(t, []string{"pump"}, names(c))
}

func TestLeastOutbox(t *testing.T) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	open := func(size int64) error {
		log, err := queue.Open(queue.Options{Dir: t.TempDir(), Key: key, MaxSize: size})
		if err == nil {
			err = log.Close()
		}
		return err
	}
	require.NoError(t, open(leastOutbox))
	require.Error(t, open(leastOutbox-1))
}

// A month before an exception ends somebody is told what will stop; past its day
// it stops, and nothing else does.
func TestExceptionThatEnds(t *testing.T) {
	for day, want := range map[string]string{
		"2027-02-28": "",
		"2027-03-01": "note: the exception 'connection-not-encrypted' (policy.yaml:17) ends in 30 days, with 2027-03-31: press-3/ram-force and press-3/program-name stop then; mend the connection until then, or have a later day approved",
		"2027-03-30": "note: the exception 'connection-not-encrypted' (policy.yaml:17) ends in 1 day, with 2027-03-31: press-3/ram-force and press-3/program-name stop then; mend the connection until then, or have a later day approved",
		"2027-03-31": "note: the exception 'connection-not-encrypted' (policy.yaml:17) ends today, with 2027-03-31: press-3/ram-force and press-3/program-name stop then; mend the connection until then, or have a later day approved",
		"2027-04-01": "the exception 'connection-not-encrypted' (policy.yaml:17) ended with 2027-03-31: press-3/ram-force and press-3/program-name stop; remove it, or have a later day approved",
	} {
		c, problems := Load("testdata/good/gateway.yaml", at(day))
		require.NotNil(t, c)
		require.Equal(t, []string{"press-3", "pump"}, names(c))
		if want == "" {
			require.Empty(t, problems, day)
			continue
		}
		require.Equal(t, []string{"testdata/good/policy.yaml:17:109: " + want}, texts("", problems))
		require.Equal(t, day > "2027-03-31", problems[0].Stops)
	}
}

// What another exception covers for longer does not stop.
func TestExceptionThatAnotherOutlasts(t *testing.T) {
	dir := overlay(t, "testdata/good")
	file := filepath.Join(dir, "policy.yaml")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b = append(b, "  - {allow: connection-not-encrypted, points: [\"press-3/ram*\"], why: \"until the new drive\", until: 2027-12-31}\n"...)
	require.NoError(t, os.WriteFile(file, b, 0o644))
	for day, want := range map[string]string{
		"2027-03-20": "policy.yaml:17:109: note: the exception 'connection-not-encrypted' (policy.yaml:17) ends in 11 days, with 2027-03-31: press-3/program-name stops then; ",
		"2027-04-20": "policy.yaml:17:109: the exception 'connection-not-encrypted' (policy.yaml:17) ended with 2027-03-31: press-3/program-name stops; ",
	} {
		_, problems := Load(filepath.Join(dir, "gateway.yaml"), at(day))
		require.Len(t, problems, 1)
		require.Contains(t, problems[0].String(), want)
	}
}

// What is refused and an exception can lift comes with the stanza that lifts it,
// for each grade of connection and each protocol.
func TestStanzaForEachRefusal(t *testing.T) {
	for tree, want := range map[string]string{
		"tree-connection":           "connection-not-encrypted",
		"policy-authenticated.yaml": "connection-not-authenticated",
		"tree-opcua-sign":           "connection-not-encrypted",
	} {
		dir := overlay(t, "testdata/mistakes/"+tree)
		_, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
		file := filepath.Join(dir, "policy.yaml")
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.Contains(string(b), "exceptions:") {
			b = append(b, "exceptions:\n"...)
		}
		stopped := 0
		for _, p := range problems {
			if _, stanza, ok := strings.Cut(p.Instead, "\n"); p.Stops && ok {
				require.Contains(t, stanza, want, tree)
				b = append(b, strings.ReplaceAll(stanza, `why: ""`, `why: "in the cabinet"`)+"\n"...)
				stopped++
			}
		}
		require.Positive(t, stopped, tree)
		require.NoError(t, os.WriteFile(file, b, 0o644))
		_, problems = Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
		for _, p := range problems {
			require.False(t, p.Stops || p.Fatal, "%s: %v", tree, p)
		}
	}
}

// A start whose clock cannot be trusted takes every exception as over, and prints
// no day that is none.
func TestLoadAtTheEndOfDays(t *testing.T) {
	options := Options{Now: policy.EndOfDays, Draft: true}
	c, problems := Load("testdata/good/gateway.yaml", options)
	require.NotNil(t, c)
	require.Equal(t, []string{"press-3", "pump"}, names(c))
	require.Contains(t, strings.Join(texts("", problems), "\n"), "ended with 2027-03-31: press-3/ram-force and press-3/program-name stop; ")
	_, problems = Load(filepath.Join(overlay(t, "testdata/mistakes/tree-connection"), "gateway.yaml"), options)
	require.Contains(t, strings.Join(texts("", problems), "\n"), `why: "", until: DAY}`)
}
