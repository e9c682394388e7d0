package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// second has the site go on with a second policy, and gives the flags that name
// both.
func (s *site) second(edits ...string) (flags []string) {
	for _, name := range []string{"policy.yaml", "policy.yaml.sig"} {
		s.write("first."+name, []byte(s.read(name)))
	}
	s.edit("policy.yaml", "revision: 1", "revision: 2")
	for i := 0; i < len(edits); i += 3 {
		s.edit(edits[i], edits[i+1], edits[i+2])
	}
	s.sign()
	return []string{"--policy", s.path("policy.yaml"), "--policy", s.path("first.policy.yaml"), "--json"}
}

func (a *answer) kinds(t testing.TB) (kinds []string) {
	t.Helper()
	for _, f := range a.audit(t).Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// Where a message is wrong by the newer policy in any case, it counts apart whether
// it is by the older one too.
func TestAuditDoubtsStayApart(t *testing.T) {
	alone(t)
	s := newSite(t, passing...)
	s.usual()
	f := s.feeds["press-1/restricted"]
	f.put(envelope.Passthrough, "torque-log", "application/cose", s.encrypted())
	for range 3 {
		f.put(envelope.Passthrough, "torque-log", "application/cose", []byte("recipe 17: 4.5 kN"))
	}
	s.checkpoints()
	flags := s.second("machines/press-1.yaml", "passthrough: cose, readable_by: [engineering], ", "")
	s.checkpoints()
	s.checkpoints()
	a := s.open("", append(flags, s.folder())...)
	require.Equal(t, 1, a.code)
	found := a.audit(t).Findings
	require.Len(t, found, 1, a.stdout)
	require.EqualValues(t, 3, found[0].Count)
}

// Who goes on with a state does not hold old epochs against the newest policy.
func TestAuditStateAndPolicies(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	flags := s.second("policy.yaml", "to: [historian, engineering]", "to: [historian]")
	f := s.feeds["press-1/internal"]
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian")
	f.sealed(f.sample("temperature"))
	s.checkpoints()
	flags = append(flags, "--state", s.path("state"))
	for range 3 {
		a := s.open("", append(flags, s.folder())...)
		require.Zero(t, a.code, a.stdout+a.stderr)
		f.sealed(f.sample("temperature"))
		s.checkpoints()
	}
}

// The last statement of the run before says what was in force until the next.
func TestAuditStateAndStatement(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	public := s.feeds["press-1/public"]
	public.clear(public.sample("state"))
	public.checkpoint(false)
	flags = append(flags, s.second("policy.yaml", "to: [historian, engineering]", "to: [historian]")...)
	flags = append(flags, "--end", "--state", s.path("state"))
	s.publish(server)
	a := s.open("", flags...)
	require.Equal(t, []string{"older-policy"}, a.kinds(t))
	f := s.feeds["press-1/internal"]
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian", "engineering") // by the first policy still
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian")
	f.checkpoint(false)
	s.checkpoints()
	s.publish(server)
	a = s.open("", flags...)
	require.Empty(t, a.kinds(t))
	require.Zero(t, a.code, a.stderr)
}

// The key frame of an epoch is asked for in each run, and found in the one before.
func TestAuditStateAndKeyFrames(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	s.publish(server)
	run := func() answer {
		return s.open("", append(flags, "--end", "--policy", s.path("policy.yaml"), "--json", "--state", s.path("state"))...)
	}
	a := run()
	require.Zero(t, a.code, a.stdout+a.stderr)
	f := s.feeds["press-1/restricted"]
	f.sealed(f.sample("force"))
	s.checkpoints()
	s.publish(server)
	a = run()
	require.Zero(t, a.code, a.stdout+a.stderr)
	f.checkpoint(true)
	f.unannounced("historian")
	for range 2 {
		f.sealed(f.sample("force"))
		s.checkpoints()
		s.publish(server)
		a = run()
		require.Equal(t, 1, a.code)
		require.Equal(t, []string{"no-key-frame"}, a.kinds(t))
	}
}

// Who follows the stream is told as well, when the key frame did not come.
func TestAuditFollowsKeyFrames(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	f := s.feeds["press-1/restricted"]
	f.checkpoint(true)
	f.unannounced("historian")
	f.sealed(f.sample("force"))
	s.checkpoints()
	s.publish(server)
	live := follow(t, s.args("", append(flags, "--policy", s.path("policy.yaml"))...))
	live.until("FINDING gw-1/press-1/restricted: sealed in epoch " + f.epoch.String() + ", whose key frame is not here")
	a := live.stop()
	require.Equal(t, 1, a.code)
	require.Equal(t, 1, strings.Count(a.stdout, "FINDING"), a.stdout)
}

// Of what a stream no longer keeps, nobody can ask for a key frame.
func TestAuditTrimmedKeyFrame(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	s.publish(server)
	s.purge(server, 5)
	a := s.open("", append(flags, "--end", "--policy", s.path("policy.yaml"), "--json")...)
	require.Empty(t, a.kinds(t))
	require.Zero(t, a.code, a.stdout+a.stderr)
	f := s.feeds["press-1/restricted"]
	f.checkpoint(true)
	f.unannounced("historian")
	f.sealed(f.sample("force"))
	s.checkpoints()
	s.publish(server)
	a = s.open("", append(flags, "--end", "--policy", s.path("policy.yaml"), "--json")...)
	require.Equal(t, []string{"no-key-frame"}, a.kinds(t), "an epoch that began since")
}

// A gateway that went back to an older policy for a while is found, and so is a
// policy that is not given, however often it changed before.
func TestAuditRollback(t *testing.T) {
	alone(t)
	s := newSite(t)
	one := s.policy
	flags := s.second("policy.yaml", "to: [historian, engineering]", "to: [historian]")
	two := s.policy
	f := s.feed("press-1", "internal", "historian")
	f.sealed(f.sample("temperature"))
	s.checkpoints()
	s.checkpoints()
	s.policy = one
	s.checkpoints()
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian", "engineering")
	f.sealed(f.sample("temperature"))
	s.checkpoints()
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian")
	s.policy = two
	s.checkpoints()
	f.sealed(f.sample("temperature"))
	s.checkpoints()
	a := s.open("", append(flags, s.folder())...)
	require.Equal(t, 1, a.code)
	require.Equal(t, []string{"older-policy"}, a.kinds(t))
	require.Contains(t, a.stdout, "went back from revision 2 to 1")

	for range 60 {
		s.policy = one
		s.state(nil)
		s.policy = two
		s.state(nil)
	}
	s.policy[0] ^= 1
	s.state(nil)
	s.policy = two
	s.state(nil)
	a = s.open("", append(flags, s.folder())...)
	require.Contains(t, a.kinds(t), "other-policy")
}
