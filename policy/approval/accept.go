package approval

import (
	"errors"
	"fmt"
)

var (
	// ErrOlder means that something newer was accepted already: an old file, put
	// back, would put back old permissions too.
	ErrOlder = errors.New("a newer one was accepted already")
	// ErrSameRevision means that a revision comes a second time with other
	// content.
	ErrSameRevision = errors.New("this revision was accepted with other content")
)

// Accepted is what a gateway accepted last. The zero value accepted nothing.
type Accepted struct {
	PolicyRevision int
	PolicyDigest   [32]byte // [Approval.Digest]: of all that was signed, not of the file alone
	TrustRevision  int
	TrustDigest    [32]byte
}

// Accept gives what is accepted after an approval was. A revision only goes up;
// the last one may come again with the same content.
func Accept(old Accepted, a *Approval) (Accepted, error) {
	revision, digest := &old.PolicyRevision, &old.PolicyDigest
	if a.Kind == Trust {
		revision, digest = &old.TrustRevision, &old.TrustDigest
	}
	now := a.Digest()
	switch {
	case a.Revision < 1:
		return old, fmt.Errorf("revision %d of the %s is not above 0", a.Revision, a.Kind)
	case a.Revision < *revision:
		return old, fmt.Errorf("%w: revision %d of the %s, and this is %d; write 'revision: %d' and have it signed",
			ErrOlder, *revision, a.Kind, a.Revision, *revision+1)
	case a.Revision == *revision && now != *digest:
		return old, fmt.Errorf("%w: revision %d of the %s; write 'revision: %d' and have it signed",
			ErrSameRevision, a.Revision, a.Kind, a.Revision+1)
	}
	*revision, *digest = a.Revision, now
	return old, nil
}
