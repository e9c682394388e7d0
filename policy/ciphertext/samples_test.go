package ciphertext_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// rfc8152 is the message of appendix C.3.1 of RFC 8152: COSE_Encrypt with a key
// agreed directly.
const rfc8152 = "D8608443A10101A1054CC9CF4DF2FE6C632BF788641358247ADBE2709CA818FB415F1E5DF66F4E1A51053BA6D65A1A0C52A357DA7A644B8070A151B0818344A1013818A220A40102200121582098F50A4FF6C05861C8860D13A638EA56C3F5AD7590BBFBF054E1C7B4D91D628022F50458246D65726961646F632E6272616E64796275636B406275636B6C616E642E6578616D706C6540"

// samples are what other programs encrypted: testdata/README.md says which.
func samples(t testing.TB, format string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	paths, err := filepath.Glob("testdata/" + format + "-*")
	require.NoError(t, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		found[filepath.Base(path)] = b
	}
	if format == ciphertext.COSE {
		b, err := hex.DecodeString(rfc8152)
		require.NoError(t, err)
		found["rfc8152"] = b
	}
	delete(found, "cms-ber.der")
	require.NotEmpty(t, found)
	return found
}

func structured() []string {
	return []string{ciphertext.COSE, ciphertext.JWE, ciphertext.CMS, ciphertext.Age}
}

func TestSamples(t *testing.T) {
	for _, format := range structured() {
		for name, b := range samples(t, format) {
			require.NoError(t, ciphertext.Judge(format, b), name)
			for _, other := range structured() {
				if other != format {
					require.Error(t, ciphertext.Judge(other, b), "%s as %s", name, other)
				}
			}
			for n := range len(b) {
				if format == ciphertext.Age && n >= bytes.Index(b, []byte("\n--- "))+1+4+43+1+32 {
					break // nothing says how long the payload is
				}
				require.Error(t, ciphertext.Judge(format, b[:n]), "%s, %d bytes", name, n)
			}
			for _, more := range []string{"\x00", "\n", " ", "A", "\xff", "\x00\x00\x00\x00"} {
				if format != ciphertext.Age {
					require.Error(t, ciphertext.Judge(format, append(bytes.Clone(b), more...)), "%s with %q", name, more)
				}
				require.Error(t, ciphertext.Judge(format, append([]byte(more), b...)), "%q and %s", more, name)
			}
		}
	}
}

// replaced gives a sample in which something is replaced by something of any
// length.
func replaced(t *testing.T, b []byte, old, by string) []byte {
	t.Helper()
	require.Contains(t, string(b), old)
	return []byte(strings.Replace(string(b), old, by, 1))
}

func TestJWERefused(t *testing.T) {
	all := samples(t, ciphertext.JWE)
	direct := all["jwe-dir-gcm.txt"]
	header, rest, _ := strings.Cut(string(direct), ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(t, err)
	headers := map[string]string{
		"as it is":            string(raw),
		"an unknown member":   strings.Replace(string(raw), "{", `{"note":"program A12",`, 1),
		"crit":                strings.Replace(string(raw), "{", `{"crit":["b64"],`, 1),
		"a member twice":      strings.Replace(string(raw), "{", `{"alg":"dir",`, 1),
		"white space":         strings.Replace(string(raw), "{", `{ `, 1),
		"a line end behind":   string(raw) + "\n",
		"an escape":           strings.Replace(string(raw), "vendor", `\u0076endor`, 1),
		"RSA1_5":              strings.Replace(string(raw), `"dir"`, `"RSA1_5"`, 1),
		"a password":          strings.Replace(string(raw), `"dir"`, `"PBES2-HS256+A128KW"`, 1),
		"none":                strings.Replace(string(raw), `"A256GCM"`, `"none"`, 1),
		"an enc with more IV": strings.Replace(string(raw), `"A256GCM"`, `"A128CBC-HS256"`, 1),
		"a key too much":      strings.Replace(string(raw), `"dir"`, `"A128KW"`, 1),
		"epk without need":    strings.Replace(string(raw), "{", `{"epk":{"kty":"EC","crv":"P-256","x":"`+strings.Repeat("A", 43)+`"},`, 1),
		"kid of 100":          strings.Replace(string(raw), "vendor", strings.Repeat("v", 100), 1),
		"a number":            strings.Replace(string(raw), "{", `{"p2c":1,`, 1),
		"nothing":             "{}",
		"no object":           `"dir"`,
	}
	for name, h := range headers {
		err := ciphertext.Judge(ciphertext.JWE, []byte(base64.RawURLEncoding.EncodeToString([]byte(h))+"."+rest))
		require.Equal(t, name == "as it is", err == nil, "%s: %v", name, err)
	}
	err = ciphertext.Judge(ciphertext.JWE, []byte(`{"protected":"e30","ciphertext":"AAAA"}`))
	require.ErrorContains(t, err, "JSON serialisation")
	cut := strings.Split(string(direct), ".")
	cut[3] = cut[3][:8] + "\n" + cut[3][8:]
	require.Error(t, ciphertext.Judge(ciphertext.JWE, []byte(strings.Join(cut, "."))), "a line end inside")
}

func TestAgeRefused(t *testing.T) {
	b := samples(t, ciphertext.Age)["age-x25519.bin"]
	require.ErrorContains(t, ciphertext.Judge(ciphertext.Age, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")), "armored")
	for name, bad := range map[string][]byte{
		"v2":           replaced(t, b, "/v1\n", "/v2\n"),
		"grease":       replaced(t, b, "-> X25519 ", "-> lX-grease AAAA\nAAAA\n-> X25519 "),
		"no recipient": append([]byte("age-encryption.org/v1\n"), b[bytes.LastIndex(b, []byte("--- ")):]...),
		"no MAC":       replaced(t, b, "\n--- ", "\n---"),
		"an argument":  replaced(t, b, "-> X25519 ", "-> X25519 program-A12 "),
		"CRLF":         replaced(t, b, "/v1\n", "/v1\r\n"),
		"21 of them":   replaced(t, b, "-> ", strings.Repeat(string(b[22:bytes.LastIndex(b, []byte("-> "))]), 20)+"-> "),
	} {
		require.Error(t, ciphertext.Judge(ciphertext.Age, bad), name)
	}
}

func TestCMSRefused(t *testing.T) {
	ber, err := os.ReadFile("testdata/cms-ber.der")
	require.NoError(t, err)
	require.ErrorContains(t, ciphertext.Judge(ciphertext.CMS, ber), "DER")
	all := samples(t, ciphertext.CMS)
	for name, bad := range map[string][]byte{
		"signed data":         replaced(t, all["cms-rsa-cbc.der"], "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"),
		"another cipher":      replaced(t, all["cms-rsa-cbc.der"], "\x60\x86\x48\x01\x65\x03\x04\x01\x2a", "\x60\x86\x48\x01\x65\x03\x04\x01\x2b"),
		"ECB":                 replaced(t, all["cms-rsa-cbc.der"], "\x60\x86\x48\x01\x65\x03\x04\x01\x2a", "\x60\x86\x48\x01\x65\x03\x04\x01\x29"),
		"another content":     replaced(t, all["cms-rsa-cbc.der"], "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", "\x2a\x86\x48\x86\xf7\x0d\x01\x08\x01"),
		"CBC, authenticated":  replaced(t, all["cms-rsa-gcm.der"], "\x60\x86\x48\x01\x65\x03\x04\x01\x2e", "\x60\x86\x48\x01\x65\x03\x04\x01\x2a"),
		"GCM, without":        replaced(t, all["cms-kek.der"], "\x60\x86\x48\x01\x65\x03\x04\x01\x02", "\x60\x86\x48\x01\x65\x03\x04\x01\x06"),
		"a password":          replaced(t, all["cms-kek.der"], "\xa2\x30\x02\x01\x04", "\xa3\x30\x02\x01\x00"),
		"readable ciphertext": all["cms-skid.der"][:0],
	} {
		require.Error(t, ciphertext.Judge(ciphertext.CMS, bad), name)
	}
	plain := bytes.Clone(all["cms-rsa-cbc.der"])
	copy(plain[len(plain)-200:], strings.Repeat("torque 12.7 Nm; ", 20))
	require.ErrorContains(t, ciphertext.Judge(ciphertext.CMS, plain), "text")
}

// TestCOSEAgainstALibrary: what the strict reader takes, a library reads as the
// same structure.
func TestCOSEAgainstALibrary(t *testing.T) {
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	require.NoError(t, err)
	r := seeded(t, 5)
	base := []string{string(good().encode(t)), string(samples(t, ciphertext.COSE)["rfc8152"])}
	taken := 0
	for range 10_000 {
		b := []byte(base[r.IntN(2)])
		for range 1 + r.IntN(2) {
			b[r.IntN(min(len(b), 40))] = byte(r.UintN(256))
		}
		if ciphertext.Judge(ciphertext.COSE, b) != nil {
			continue
		}
		taken++
		var tag cbor.Tag
		require.NoError(t, mode.Unmarshal(b, &tag), "%x", b)
		parts, ok := tag.Content.([]any)
		require.True(t, ok)
		require.Len(t, parts, map[uint64]int{16: 3, 96: 4}[tag.Number])
	}
	require.Positive(t, taken)
}
