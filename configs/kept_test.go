package configs

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/approval"
)

// A signed trust file that receivers could not use for this gateway does not end
// what was accepted: another signing key, or none.
func TestTrustFileForAnotherKey(t *testing.T) {
	own := make([]byte, ed25519.PublicKeySize)
	for i := range own {
		own[i] = byte(i)
	}
	for want, edit := range map[string][]string{
		"it gives gw-1 another signing key than its keystore has": {"AAECAwQF", "BBECAwQF"},
		"the trust file does not list the gateway 'gw-1'":         {"  gw-1: ", "  gw-2: "},
	} {
		o := newOffice(t, 1, "anna")
		o.sign("policy trust", o.secrets[0])
		o.start()
		o.edit("trust.yaml", append([]string{"revision: 4", "revision: 5"}, edit...)...)
		options := at("2026-11-22")
		options.Own = own
		c, problems := Load(o.path("gateway.yaml"), options)
		require.Nil(t, c, want)
		require.Contains(t, problems[0].String()+problems[len(problems)-1].String(), want)
		note, err := approval.Sign(nil, trustText(t, o), o.secrets[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(o.path("trust.yaml.sig"), note, 0o600))

		options.Draft, options.Approvals = false, o.store
		c, problems = Load(o.path("gateway.yaml"), options)
		require.NotNil(t, c, problems)
		assert.Equal(t, 4, c.Trust.Revision, want)
		require.Len(t, c.Approved.Refused, 1)
		assert.Equal(t, "trust", c.Approved.Refused[0].Kind)
		assert.Contains(t, c.Approved.Refused[0].Problem.What, want)
		assert.Contains(t, c.Approved.Refused[0].Problem.What, "(revision 4 goes on)")
	}
}

// trustText gives what is signed of a trust file, whatever it says of the gateway.
func trustText(t *testing.T, o *office) string {
	t.Helper()
	trust, problems := LoadTrust(o.path("trust.yaml"))
	require.NotNil(t, trust, problems)
	return trust.Approval().Text()
}

// Where nothing new can be kept, what was accepted goes on; without that nothing
// starts.
func TestNothingNewCanBeKept(t *testing.T) {
	o := newOffice(t, 1, "anna", "ben")
	o.sign("policy trust", o.secrets[0])
	options := at("2026-11-22")
	options.Draft, options.Approvals, options.NotKept = false, o.store, errors.New("no space left on device")
	c, problems := Load(o.path("gateway.yaml"), options)
	require.Nil(t, c)
	assert.Contains(t, problems[0].String(), "policy.yaml: it is signed, and cannot be kept in the state folder, so that it does not take effect: no space left on device; "+
		"make it writable, or make room there, and start again")

	before, _ := o.start()
	c, problems = Load(o.path("gateway.yaml"), options)
	require.NotNil(t, c)
	assert.Empty(t, problems, "nothing is new")
	o.edit("policy.yaml", "revision: 1", "revision: 2")
	o.sign("policy", o.secrets[0])
	next := o.store.Set()
	next.Revision++
	change, err := approval.Sign(nil, next.Text(), o.secrets[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.path(ApproversFile), change, 0o600))
	c, problems = Load(o.path("gateway.yaml"), options)
	require.NotNil(t, c)
	assert.Len(t, problems, 2)
	assert.Equal(t, before.Policy.Revision, c.Policy.Revision)
	assert.True(t, bytes.Equal(before.Approved.Policy.File, c.Approved.Policy.File))
	assert.Nil(t, c.Approved.Change)
	require.Len(t, c.Approved.Refused, 2)
	assert.Equal(t, "approvers", c.Approved.Refused[0].Kind)
	assert.Contains(t, c.Approved.Refused[1].Problem.String(), "(revision "+itoa(before.Policy.Revision)+" goes on); make it writable")
}

// A copy of a signed machine's file leaves out itself, not the machine.
func TestCopiedMachineFile(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	before, _ := o.start()
	b, err := os.ReadFile(o.path("machines/press-3.yaml"))
	require.NoError(t, err)
	for _, name := range []string{"press-0", "press-9"} { // before it and after it
		b := bytes.Replace(b, []byte("machine: press-3"), []byte("machine: "+name), 1)
		require.NoError(t, os.WriteFile(o.path("machines/"+name+".yaml"), b, 0o600))
	}
	c, problems := o.load()
	require.NotNil(t, c, problems)
	assert.Equal(t, before.Machines, c.Machines)
	for _, name := range []string{"press-0", "press-9"} {
		found := false
		for _, p := range problems {
			found = found || bytes.HasPrefix([]byte(p), []byte("machines/"+name+".yaml:")) && bytes.Contains([]byte(p), []byte("and only that one was signed so: nothing was signed for this point"))
		}
		assert.True(t, found, problems)
	}
}
