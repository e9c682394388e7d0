package envelope

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// With GODEBUG=fips140=only receivers work with every algorithm but X25519, and
// gateways sign and make key frames for them; what they cannot do is to seal data
// frames, whose nonces are chosen. This test runs itself in such a process.
func TestFIPS(t *testing.T) {
	if fips140.Enforced() {
		enforced(t)
		return
	}
	program, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), program, "-test.run=^TestFIPS$", "-test.v")
	c.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "read 57 55 53")
}

func enforced(t *testing.T) {
	var read []string
	for _, name := range []string{"valid-57-mlkem768-x25519", "valid-55-mlkem768-p256", "valid-53-p256", "valid-49-x25519"} {
		file, err := os.ReadFile(vectorFolder + "/" + name + ".json")
		require.NoError(t, err)
		if name == "valid-49-x25519" {
			_, err := NewIdentity(X25519, "")
			require.Error(t, err, "X25519 is not approved")
			continue
		}
		replay(t, file)
		read = append(read, strings.Split(name, "-")[1])
	}
	t.Log("read " + strings.Join(read, " "))

	for _, alg := range []Algorithm{MLKEM768X25519, MLKEM768P256, P256} {
		id := identity(t, alg)
		s, err := NewSealer(EpochConfig{
			Stream: Stream{"hall-2", "press-3", "restricted"}, Epoch: epoch(1, 1),
			Recipients: []Recipient{id.Recipient()}, Signer: Signer{"hall-2", key("hall-2")},
		})
		require.NoError(t, err)
		_, err = s.KeyFrame(1)
		require.ErrorContains(t, err, "fips140=only", "a key frame whose frames cannot be sealed")
		// What is in it works: encryption to the recipient, and signature.
		f := keyFrame{stream: s.config.Stream, epoch: s.config.Epoch, sequence: 1, thumbprint: s.key.thumbprint()}
		payload, err := appendEncrypt(nil, &f, &s.key, make([]byte, keySize), s.config.Recipients)
		require.NoError(t, err)
		body, err := appendSign1(nil, s.config.Signer, typKeyFrame, payload)
		require.NoError(t, err)
		signed, err := parseSign1(body)
		require.NoError(t, err)
		parsed, err := parseKeyFrame(&signed)
		require.NoError(t, err)
		k, err := parsed.open([]*Identity{id})
		require.NoError(t, err)
		require.Equal(t, s.key, k)
	}
}
