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
