package approval_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// TestDiffOfALevelForTheSamePeople holds that a point that moves to another level
// of the same readers is shown with what that changes.
func TestDiffOfALevelForTheSamePeople(t *testing.T) {
	a := &approval.Approval{
		Kind: approval.Policy, Name: "plant", Revision: 1, Default: "secret",
		Levels: []approval.Level{
			{Name: "internal", Send: "sealed", Connection: "any", To: []string{"anna"}},
			{Name: "restricted", Send: "sealed", Connection: "encrypted", To: []string{"anna"}, Pad: true, HideNames: true},
			{Name: "secret", Send: "sealed", Connection: "encrypted", To: []string{"anna"}},
		},
	}
	entry := approval.Entry{
		Machine: "press-1", Point: "force", Endpoint: "tcp://10.0.0.1:502", Unit: "1", Address: "holding/100", Type: "float32",
		Treatment: policy.Sealed, Level: "restricted",
	}
	next := *a
	a.Tables = []approval.Table{{Gateway: "gw-1", Entries: []approval.Entry{entry}}}
	entry.Level = "internal"
	next.Tables = []approval.Table{{Gateway: "gw-1", Entries: []approval.Entry{entry}}}
	require.Equal(t, []string{
		"! press-1/force: will leave sealed for anna as of level internal, read over a connection that is any (was encrypted), its size will show, its name will show (was of level restricted)",
	}, lines(approval.Diff(a, &next)))
}
