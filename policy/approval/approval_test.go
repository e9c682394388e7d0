package approval_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

const gateway = "gw-press-hall-2"

func approver(t testing.TB, name string) approval.Secret {
	t.Helper()
	s, _, err := approval.NewApprover(name)
	require.NoError(t, err)
	return s
}

func setOf(t testing.TB, threshold int, secrets ...approval.Secret) approval.Set {
	t.Helper()
	var keys []string
	for _, s := range secrets {
		keys = append(keys, s.Public())
	}
	set, err := approval.NewSet(threshold, keys...)
	require.NoError(t, err)
	return set
}

func sign(t testing.TB, text string, secrets ...approval.Secret) []byte {
	t.Helper()
	var out []byte
	for _, s := range secrets {
		var err error
		out, err = approval.Sign(out, text, s)
		require.NoError(t, err)
	}
	return out
}

func patterns(t testing.TB, words ...string) []policy.Pattern {
	t.Helper()
	out := make([]policy.Pattern, len(words))
	for i, w := range words {
		p, err := policy.ParsePattern(w)
		require.NoError(t, err)
		out[i] = p
	}
	return out
}

var policyFile = []byte("fieldseal: policy/v1\n")

func plant(t testing.TB) *policy.Policy {
	zone := time.FixedZone("CEST", 2*3600)
	return &policy.Policy{
		Name: "plant-augsburg", Revision: 17, Location: zone, Digest: sha256.Sum256(policyFile),
		Levels: []policy.Level{
			{Name: "public", Send: policy.SendClear},
			{Name: "internal", To: []string{"process-engineering", "historian", "escrow"}},
			{Name: "restricted", To: []string{"process-engineering", "escrow"}, Connection: point.Encrypted, Pad: true},
			{Name: "secret", Send: policy.SendWithheld},
		},
		Default:     "restricted",
		Released:    []policy.Release{{Points: patterns(t, "press-3/state"), Where: "policy.yaml:20"}},
		Raise:       []policy.Raise{{Points: patterns(t, "*/recipe*"), Level: "restricted", Where: "policy.yaml:23"}},
		Passthrough: policy.Passthrough{Accept: []string{"jwe", "cose"}},
		Exceptions: []policy.Exception{{
			Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-3/*"),
			Why: `Modbus bleibt im Schaltschrank "+A1"`, Until: time.Date(2027, 4, 1, 0, 0, 0, 0, zone),
		}},
	}
}

func press3() approval.Machine {
	return approval.Machine{
		Name: "press-3", Endpoint: "tcp://10.20.3.13:502",
		Points: []approval.Point{
			{Policy: policy.Point{Name: "state", Label: "public", Where: "press-3.yaml:26", Address: "holding/120"}, Unit: "1", Address: "holding/120", Type: "uint16"},
			{Policy: policy.Point{Name: "ram-force", Label: "restricted", Where: "press-3.yaml:22", Address: "holding/100"}, Unit: "1", Address: "holding/100", Type: "float32"},
			{Policy: policy.Point{Name: "oil-level", Label: "internal", Where: "press-3.yaml:24", Address: "input/13"}, Unit: "1", Address: "input/13", Type: "int16"},
			{Policy: policy.Point{Name: "unlabelled", Where: "press-3.yaml:30", Address: "holding/300"}, Unit: "1", Address: "holding/300", Type: "int16"},
			{Policy: policy.Point{Name: "recipe-step", Label: "internal", Where: "press-3.yaml:31", Address: "holding/301"}, Unit: "1", Address: "holding/301", Type: "int16"},
			{Policy: policy.Point{Name: "torque-log", Label: "restricted", Where: "press-3.yaml:36", Address: "holding/500", Passthrough: "cose", ReadableBy: []string{"process-engineering"}}, Unit: "1", Address: "holding/500", Type: "bytes[240]"},
		},
	}
}

func mixer4() approval.Machine {
	return approval.Machine{
		Name: "mixer-4", Endpoint: "opc.tcp://10.20.4.14:4840",
		Points: []approval.Point{
			{Policy: policy.Point{Name: "drive-speed", Label: "internal"}, Address: `ns=http://vendor.example/mixer/v2;s="DB Drü"."Drv"[1]/rSpeed`, Type: "float32"},
		},
	}
}

func signedPolicy(t testing.TB) *approval.Approval {
	p := plant(t)
	return approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{press3(), mixer4()}, p))
}

var trustFile = []byte("fieldseal: trust/v1\n")

func trust() approval.TrustFile {
	key := func(b byte) string {
		return "ed25519:" + base64.StdEncoding.EncodeToString(slices.Repeat([]byte{b}, 32))
	}
	sum := func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }
	return approval.TrustFile{
		Revision: 4, Digest: sha256.Sum256(trustFile),
		Gateways: []approval.Gateway{{gateway, key(1), "2028-12-31"}, {"gw-2", key(2), "2027-12-31"}},
		Recipients: []approval.Recipient{
			{Name: "press-oem", Keys: []string{sum("press-oem")}, Only: []string{"press-*/*"}},
			{Name: "historian", Keys: []string{sum("historian-new"), sum("historian")}},
		},
	}
}

func TestTextIsReadable(t *testing.T) {
	for file, a := range map[string]*approval.Approval{"policy.txt": signedPolicy(t), "trust.txt": approval.OfTrust(trust())} {
		path := filepath.Join("testdata", file)
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile(path, []byte(a.Text()), 0o600))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), a.Text(), "UPDATE=1 writes it; what was signed before is then refused")
	}
}

func TestReadsWhatItWrote(t *testing.T) {
	anna := approver(t, "anna")
	for kind, c := range map[approval.Kind]struct {
		file []byte
		a    *approval.Approval
	}{
		approval.Policy: {policyFile, signedPolicy(t)},
		approval.Trust:  {trustFile, approval.OfTrust(trust())},
	} {
		got, err := approval.Verify(kind, c.file, sign(t, c.a.Text(), anna), setOf(t, 1, anna))
		require.NoError(t, err)
		require.Equal(t, []string{"anna"}, got.By)
		got.By = nil
		require.Equal(t, c.a.Text(), got.Text())
		require.Equal(t, c.a.Digest(), got.Digest())
	}
	a, err := approval.ParseApproval(sign(t, signedPolicy(t).Text(), anna), setOf(t, 1, anna))
	require.NoError(t, err)
	require.NoError(t, a.Matches(plant(t)))
	b, err := approval.ParseApproval(sign(t, approval.OfTrust(trust()).Text(), anna), setOf(t, 1, anna))
	require.NoError(t, err)
	require.NoError(t, b.MatchesTrust(trust()))

	require.ErrorIs(t, a.MatchesTrust(trust()), approval.ErrOtherFile)
	require.ErrorIs(t, b.Matches(plant(t)), approval.ErrOtherFile)
	p := plant(t)
	p.Levels[1].To = append(p.Levels[1].To, "press-oem") // the same bytes, read in another way
	require.ErrorContains(t, a.Matches(p), "press-oem")
	p = plant(t)
	p.Revision++
	require.ErrorContains(t, a.Matches(p), "revision 18")
	p = plant(t)
	p.Digest[0]++
	require.ErrorIs(t, a.Matches(p), approval.ErrOtherFile)
}

func TestTextDoesNotDependOnOrder(t *testing.T) {
	p := plant(t)
	one := approval.Resolve(gateway, []approval.Machine{press3(), mixer4()}, p)
	m := press3()
	slices.Reverse(m.Points)
	other := approval.Resolve(gateway, []approval.Machine{mixer4(), m}, p)
	require.Equal(t, one, other)
	second := approval.Resolve("gw-2", []approval.Machine{mixer4()}, p)
	require.Equal(t, approval.OfPolicy(p, 4, one, second).Text(), approval.OfPolicy(p, 4, second, other).Text())
}

func TestVerifyRefuses(t *testing.T) {
	anna, berta, stranger := approver(t, "anna"), approver(t, "berta"), approver(t, "stranger")
	text := signedPolicy(t).Text()
	set := setOf(t, 1, anna, berta)

	_, err := approval.Verify(approval.Policy, append([]byte("x"), policyFile...), sign(t, text, anna), set)
	require.ErrorIs(t, err, approval.ErrOtherFile)
	_, err = approval.Verify(approval.Trust, policyFile, sign(t, text, anna), set)
	require.ErrorIs(t, err, approval.ErrOtherFile)
	_, err = approval.Verify(approval.Policy, policyFile, sign(t, text, stranger), set)
	require.ErrorIs(t, err, approval.ErrNotApproved)
	require.EqualError(t, err, "not approved: it takes the signature of 1 approver, and none is there; anna or berta can sign")
	_, err = approval.Verify(approval.Policy, policyFile, nil, set)
	require.ErrorContains(t, err, "no signed note")
	_, err = approval.Verify(approval.Policy, policyFile, []byte(text), set)
	require.ErrorContains(t, err, "no signed note")
	_, err = approval.Verify(approval.Policy, policyFile, sign(t, text, anna), approval.Set{})
	require.Error(t, err, "a set of nobody approves nothing")
	_, err = approval.Verify(approval.Policy, policyFile, sign(t, set.Text(), anna), set)
	require.Error(t, err, "a set of approvers is no policy")
	_, err = set.Change(sign(t, text, anna))
	require.Error(t, err, "a policy is no set of approvers")
	_, err = approval.ParseApproval(make([]byte, approval.MaxNote+1), set)
	require.ErrorContains(t, err, "larger")
}

func TestThreshold(t *testing.T) {
	anna, berta, carl, stranger := approver(t, "anna"), approver(t, "berta"), approver(t, "carl"), approver(t, "stranger")
	impostor := approver(t, "anna") // the name, with another key
	text := signedPolicy(t).Text()
	for _, c := range []struct {
		name    string
		k       int
		signers []approval.Secret
		by      []string // nil: not approved
	}{
		{"1 of 3 by one", 1, []approval.Secret{berta}, []string{"berta"}},
		{"1 of 3 by nobody of them", 1, []approval.Secret{stranger}, nil},
		{"1 of 3 by an impostor", 1, []approval.Secret{impostor}, nil},
		{"1 of 3 beside a stranger", 1, []approval.Secret{stranger, berta, impostor}, []string{"berta"}},
		{"2 of 3 by one", 2, []approval.Secret{berta}, nil},
		{"2 of 3 by one twice", 2, []approval.Secret{berta, berta}, nil},
		{"2 of 3 by one and a stranger", 2, []approval.Secret{berta, stranger}, nil},
		{"2 of 3 by one and an impostor", 2, []approval.Secret{anna, impostor}, nil},
		{"2 of 3 by two", 2, []approval.Secret{carl, anna}, []string{"anna", "carl"}},
		{"2 of 3 by three", 2, []approval.Secret{carl, anna, berta}, []string{"anna", "berta", "carl"}},
		{"3 of 3 by two", 3, []approval.Secret{carl, anna}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := approval.ParseApproval(sign(t, text, c.signers...), setOf(t, c.k, anna, berta, carl))
			if c.by == nil {
				require.ErrorIs(t, err, approval.ErrNotApproved)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.by, a.By)
		})
	}
}

// signatures gives the lines of a note that are signatures.
func signatures(signed []byte) []string {
	s := string(signed)
	return strings.SplitAfter(strings.TrimSuffix(s[strings.LastIndex(s, "\n\n")+2:], "\n"), "\n")
}

func TestOneSignatureTwiceCountsOnce(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	n := sign(t, signedPolicy(t).Text(), anna)
	twice := append(slices.Clone(n), signatures(n)[0]+"\n"...)
	_, err := approval.ParseApproval(twice, setOf(t, 1, anna, berta))
	require.NoError(t, err)
	_, err = approval.ParseApproval(twice, setOf(t, 2, anna, berta))
	require.ErrorIs(t, err, approval.ErrNotApproved)

	other := signatures(sign(t, approval.OfTrust(trust()).Text(), anna))[0] // good, for another text
	_, err = approval.ParseApproval(append(slices.Clone(n), other+"\n"...), setOf(t, 1, anna, berta))
	require.Error(t, err, "the second is false")
}

func TestFalseSignatureOfAnApproverRefuses(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	n := sign(t, signedPolicy(t).Text(), anna)
	moved := append(slices.Clone(n), signatures(sign(t, approval.OfTrust(trust()).Text(), berta))[0]+"\n"...)
	_, err := approval.ParseApproval(moved, setOf(t, 1, anna, berta))
	require.ErrorIs(t, err, approval.ErrForged)
	require.ErrorContains(t, err, `"berta"`)
	_, err = approval.ParseApproval(moved, setOf(t, 1, anna))
	require.NoError(t, err, "what strangers write does not matter")
}

func TestEveryByteCounts(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	for name, text := range map[string]string{
		"policy": signedPolicy(t).Text(), "trust": approval.OfTrust(trust()).Text(),
	} {
		n := sign(t, text, anna, berta)
		both, one := setOf(t, 2, anna, berta), setOf(t, 1, anna, berta)
		for i := range n {
			for _, flip := range []byte{1, 4, 0x20, 0x80} {
				bad := slices.Clone(n)
				bad[i] ^= flip
				_, err := approval.ParseApproval(bad, both)
				require.Error(t, err, "%s: byte %d", name, i)
				if a, err := approval.ParseApproval(bad, one); err == nil {
					require.Equal(t, text, a.Text(), "%s: byte %d turned one approver into a stranger, no more", name, i)
					require.Len(t, a.By, 1)
				}
			}
			for _, bad := range [][]byte{slices.Delete(slices.Clone(n), i, i+1), slices.Insert(slices.Clone(n), i, n[i])} {
				a, err := approval.ParseApproval(bad, both)
				if err == nil { // a letter less in an empty line is none less, where the letter is doubled
					require.Equal(t, n, bad, "%s: byte %d", name, i)
					require.Equal(t, text, a.Text())
				}
			}
			_, err := approval.ParseApproval(n[:i], one)
			if err == nil {
				require.True(t, strings.HasPrefix(string(n[i:]), "— berta"), "%s: cut at %d", name, i)
			}
		}
	}
}

func TestSignKeepsEarlierSignaturesOfTheSameText(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	old := sign(t, signedPolicy(t).Text(), anna)
	p := plant(t)
	p.Revision++
	n, err := approval.Sign(old, approval.OfPolicy(p, 4).Text(), berta)
	require.NoError(t, err)
	_, err = approval.ParseApproval(n, setOf(t, 2, anna, berta))
	require.ErrorIs(t, err, approval.ErrNotApproved)
	a, err := approval.ParseApproval(n, setOf(t, 1, anna, berta))
	require.NoError(t, err)
	require.Equal(t, []string{"berta"}, a.By)
}

func TestSignRefusesWhatNobodyCouldRead(t *testing.T) {
	anna := approver(t, "anna")
	for _, text := range []string{"", "hello\n", "fieldseal policy/v1 approval\n", signedPolicy(t).Text() + "\n", signedPolicy(t).Text() + "point\n"} {
		_, err := approval.Sign(nil, text, anna)
		require.Error(t, err, "%q", text)
	}
	_, err := approval.Sign(nil, signedPolicy(t).Text(), approval.Secret{})
	require.Error(t, err)

	p := plant(t)
	m := press3()
	m.Points = append(m.Points, m.Points[0])
	_, err = approval.Sign(nil, approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p)).Text(), anna)
	require.ErrorContains(t, err, "twice")
}

func TestParseIsStrict(t *testing.T) {
	text := signedPolicy(t).Text()
	trustText := approval.OfTrust(trust()).Text()
	anna := approver(t, "anna")
	for _, c := range []struct{ from, to string }{
		{"revision 17", "revision 017"},
		{"revision 17", "revision 0"},
		{"revision 17", "revision -1"},
		{"revision 17", "revision 99999999999"},
		{"revision 17", "revision 2147483647"},
		{"least-trust-revision 4\n", ""},
		{"raise points=*/recipe* level=restricted", "raise points=*/recipe* level=nothing"},
		{"raise points=*/recipe*", "raise points=recipe"},
		{"released points=press-3/state why=", "released points=press-3/state because="},
		{"policy plant-augsburg", "policy Plant"},
		{"policy plant-augsburg\n", ""},
		{"default restricted", "default nothing"},
		{"level public clear", "level internal clear"},
		{"level public clear", "level public loud"},
		{"connection=any", "connection=none"},
		{"to=escrow,historian", "to=historian,escrow"},
		{"to=escrow,historian", "to=escrow,escrow,historian"},
		{"pad=yes", "pad=no"},
		{"until=2027-03-31", "until=2027-02-30"},
		{"points=press-3/*", "points=press-3"},
		{"gateway gw-press-hall-2", "gateway gw-press-hall-2 "},
		{"unit=1", "unit=\"1\""},
		{"type=uint16", "type=uint16 type=uint16"},
		{"level=public", "level=pubic"},
		{"point press-3/state clear", "point press-3/state sealed-by-nobody"},
		{"point press-3/state", "point press-3"},
		{"format=cose ", ""},
		{"sha256 ", "sha256 00"},
		{"if-readable=seal", "if-readable=send"},
	} {
		bad := strings.Replace(text, c.from, c.to, 1)
		require.NotEqual(t, text, bad, c.from)
		_, err := approval.Sign(nil, bad, anna)
		require.Error(t, err, "%s → %s", c.from, c.to)
	}
	for _, c := range []struct{ from, to string }{
		{"key=ed25519:", "key=rsa:"},
		{"recipient historian keys=", "recipient historian keys=00,"},
		{"recipient press-oem", "recipient historian"},
		{"until=2027-12-31", "until=soon"},
		{"only=press-*/*", "only=press"},
	} {
		bad := strings.Replace(trustText, c.from, c.to, 1)
		require.NotEqual(t, trustText, bad, c.from)
		_, err := approval.Sign(nil, bad, anna)
		require.Error(t, err, "%s → %s", c.from, c.to)
	}
}

// fixed gives an approver whose key is always the same.
func fixed(t testing.TB, name string) approval.Secret {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	require.NoError(t, err)
	hash := strings.Split(public, "+")[1]
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...))
	s, err := approval.ParseSecret("PRIVATE+KEY+" + name + "+" + hash + "+" + secret)
	require.NoError(t, err)
	return s
}

func FuzzParseApproval(f *testing.F) {
	anna := fixed(f, "anna") // all workers have the same
	set := setOf(f, 1, anna)
	f.Add(sign(f, signedPolicy(f).Text(), anna))
	f.Add(sign(f, approval.OfTrust(trust()).Text(), anna))
	f.Add(sign(f, set.Text(), anna))
	f.Add([]byte("fieldseal policy/v1 approval\npolicy \"\n\n— a AAAAAAAAAA==\n"))
	f.Fuzz(func(t *testing.T, signed []byte) {
		if a, err := approval.ParseApproval(signed, set); err == nil {
			require.Equal(t, []string{"anna"}, a.By)
		}
		_, _ = set.Change(signed)
		a, err := approval.ParseUnverified(signed)
		if err != nil {
			return
		}
		text := a.Text()
		require.True(t, strings.HasPrefix(string(signed), text+"\n— "), "each approval has one text")
		again, err := approval.ParseApproval(sign(t, text, anna), set)
		require.NoError(t, err)
		require.Equal(t, text, again.Text())
		approval.Diff(nil, a)
		approval.Diff(signedPolicy(t), a)
		require.Empty(t, approval.Diff(a, a))
	})
}
