package envelope

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha3"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/veraison/go-cose"
)

// The vectors of RFC 9180, base mode, of the parts that the classical algorithms
// are made of. The hybrids have those of the COSE drafts: TestDraftVectors.
func TestRFC9180(t *testing.T) {
	file, err := os.ReadFile("testdata/rfc9180.json")
	require.NoError(t, err)
	var vectors []struct {
		Kem        uint16 `json:"kem_id"`
		Kdf        uint16 `json:"kdf_id"`
		Aead       uint16 `json:"aead_id"`
		Info       string `json:"info"`
		Private    string `json:"skRm"`
		Public     string `json:"pkRm"`
		Enc        string `json:"enc"`
		Exports    string `json:"exports_accumulated"`
		Ciphertext string `json:"ct"`
	}
	require.NoError(t, json.Unmarshal(file, &vectors))
	suites := map[[3]uint16]bool{}
	for _, v := range vectors {
		kem, err := hpke.NewKEM(v.Kem)
		require.NoError(t, err)
		kdf, err := hpke.NewKDF(v.Kdf)
		require.NoError(t, err)
		aead, err := hpke.NewAEAD(v.Aead)
		require.NoError(t, err)
		suites[[3]uint16{v.Kem, v.Kdf, v.Aead}] = true
		k, err := kem.NewPrivateKey(unhex(t, v.Private))
		require.NoError(t, err)
		assert.Equal(t, v.Public, hex.EncodeToString(k.PublicKey().Bytes()))
		r, err := hpke.NewRecipient(unhex(t, v.Enc), k, kdf, aead, unhex(t, v.Info))
		require.NoError(t, err)
		source, sink := sha3.NewSHAKE128(), sha3.NewSHAKE128()
		for n := range 1000 {
			size := make([]byte, 1)
			_, err := io.ReadFull(source, size)
			require.NoError(t, err)
			context := make([]byte, size[0])
			_, err = io.ReadFull(source, context)
			require.NoError(t, err)
			secret, err := r.Export(string(context), n)
			require.NoError(t, err)
			_, err = sink.Write(secret)
			require.NoError(t, err)
		}
		sum := make([]byte, 16)
		_, err = io.ReadFull(sink, sum)
		require.NoError(t, err)
		assert.Equal(t, v.Exports, hex.EncodeToString(sum))
		if v.Ciphertext != "" { // of the RFC's text, appendix A.1.1.1 and A.3.1.1
			plain, err := r.Open([]byte("Count-0"), unhex(t, v.Ciphertext))
			require.NoError(t, err)
			assert.Equal(t, "Beauty is truth, truth beauty", string(plain))
		}
	}
	for _, alg := range []Algorithm{X25519, P256} {
		kem, kdf, aead, err := alg.suite()
		require.NoError(t, err)
		assert.True(t, suites[[3]uint16{kem.ID(), kdf.ID(), aead.ID()}], "a vector of the suite of %v", alg)
	}
}

// veraison/go-cose verifies everything signed in the vectors that a reader took.
func TestGoCOSEVerifiesTheVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorFolder, "*.json"))
	require.NoError(t, err)
	verified := 0
	for _, path := range files {
		if strings.Contains(path, "fully-specified") {
			continue // go-cose 1.3.0 does not know algorithm -19
		}
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		var f vectorFile
		require.NoError(t, json.Unmarshal(file, &f))
		if f.Trust == nil {
			continue
		}
		for i := range f.Messages {
			m := message(t, &f.Messages[i])
			if m.ContentType != TypeSigned || f.Messages[i].Refused != nil {
				continue
			}
			var s cose.Sign1Message
			require.NoError(t, s.UnmarshalCBOR(m.Body), path)
			kid, _ := s.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
			ok := false
			for _, k := range f.Trust.Gateways[0].Keys {
				if k.Kid == hex.EncodeToString(kid) {
					v, err := cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(unhex(t, k.Public)))
					require.NoError(t, err)
					ok = s.Verify(nil, v) == nil
				}
			}
			assert.True(t, ok, "message %d of %s", i+1, path)
			verified++
		}
	}
	assert.Greater(t, verified, 250)
}
