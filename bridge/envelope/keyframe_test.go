package envelope

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whom an epoch is for is told without any identity.
func TestKeyFrameRecipients(t *testing.T) {
	ben, eva := identity(t, X25519), identity(t, P256)
	p := newPlant(t, ben.Recipient(), eva.Recipient())
	p.begin(epoch(7, 1))
	p.data(1)
	ids, err := KeyFrameRecipients(&p.all[0])
	require.NoError(t, err)
	require.Equal(t, []KeyID{ben.Recipient().ID(), eva.Recipient().ID()}, ids)
	p.checkpoint(false)
	for _, m := range p.all[1:] {
		_, err := KeyFrameRecipients(&m)
		require.Error(t, err)
	}
}
