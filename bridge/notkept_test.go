package bridge

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// A disk that has no room for a new policy does not end the one before.
func TestNoRoomForANewPolicy(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	full := func(*approval.Store, approval.Copy, approval.Copy) (bool, error) {
		return false, fmt.Errorf("%w: %w", approval.ErrNotKept, unix.ENOSPC)
	}
	noRoom := func(o *Options) {
		o.keep = func(s *approval.Store, a, b approval.Copy) (bool, error) {
			if a.Note == nil || s.Accepted() == (approval.Accepted{}) {
				return full(s, a, b)
			}
			if last, _, _ := s.Last(approval.Policy); last != nil {
				if next, err := approval.ParseUnverified(a.Note); err == nil && next.Digest() == last.Digest() {
					return s.Keep(a, b) // nothing to write
				}
			}
			return full(s, a, b)
		}
		o.Again = func(notKept error) (*configs.Config, []configs.Problem) {
			return configs.Load(p.path("gateway.yaml"), configs.Options{Approvals: p.approvals(), NotKept: notKept})
		}
	}

	// Nothing was accepted before.
	_, err := open(p.dir, noRoom)
	require.ErrorContains(t, err, "no space left on device; make room in "+p.path("state"))
	require.ErrorContains(t, err, "nothing was accepted before that could go on")

	require.NoError(t, p.open().Close())
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.edit("policy.yaml", `, "*/nameplate"`, "")
	p.sign(p.anna)
	p.change = noRoom
	s := p.poll()
	assert.Equal(t, 1, s.Policy.Revision)
	require.NotEmpty(t, s.Refused)
	assert.Equal(t, "policy", s.Refused[0].File)
	assert.Contains(t, s.Refused[0].Problem, "no space left on device (revision 1 goes on); make it writable, or make room there, and start again")
	require.Len(t, p.events("policy-refused"), 1)
	assert.Contains(t, p.events("policy-refused")[0].Text, "no space left on device")
	assert.Equal(t, 1, p.approvals().Accepted().PolicyRevision)

	// With room again, the new one takes effect.
	p.change = func(*Options) {}
	s = p.poll()
	assert.Equal(t, 2, s.Policy.Revision)
	assert.Equal(t, []status.Refused(nil), s.Refused)
}

// A process number means nothing to another container.
func TestLockNamesItsHolder(t *testing.T) {
	assert.Equal(t, " (process 7)", lockedBy("7 "+processes()+"\n"))
	assert.Equal(t, " (in another container, or outside of this one)", lockedBy("7 pid:[1]\n"))
	assert.Empty(t, lockedBy("7\n"), "what an earlier version wrote")
	assert.Empty(t, lockedBy(""))
}
