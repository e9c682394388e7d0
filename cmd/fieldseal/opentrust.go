package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// verified is what the approvers vouch for.
type verified struct {
	trust    *envelope.Trust
	who      *configs.Trust
	store    *approval.Store
	policies []signedPolicy // the highest revision last
}

// signedPolicy is a policy that the approvers signed.
type signedPolicy struct {
	*approval.Approval
	path string
}

// verifiedTrust reads the trust file, and the policies of an audit, and holds
// them against their approvers: those of --approvers, which are remembered, or
// those that are remembered. It is nil where there are neither.
func (o *openOptions) verifiedTrust(stderr io.Writer) (*verified, error) {
	p, err := o.pinned(stderr)
	if err != nil || p.store == nil {
		return nil, err
	}
	change, err := readIf(filepath.Join(filepath.Dir(o.trust), configs.ApproversFile))
	if err != nil {
		return nil, err
	}
	next := p.store
	if change != nil {
		if with, changed, err := p.store.With(change); err != nil {
			fmt.Fprintf(stderr, "fieldseal: %s: %v; the approvers before stay\n", configs.ApproversFile, err)
			change = nil
		} else if next = with; changed {
			fmt.Fprintf(stderr, "fieldseal: the approvers changed: from now on it takes %s (revision %d)\n", signers(next.Set()), next.Set().Revision)
		}
	}
	t, copied, problems := configs.OpenTrust(o.trust, next)
	if err := report(stderr, problems, false); err != nil {
		return nil, err
	}
	refused := fmt.Errorf("the trust file %s is refused, and nothing was opened", configs.Printable(o.trust))
	if t == nil {
		return nil, &exitError{exitProblems, refused}
	}
	v := &verified{who: t, store: next, trust: &envelope.Trust{Gateways: make(map[string]envelope.GatewayKeys)}}
	for name, g := range t.Gateways {
		v.trust.Gateways[name] = envelope.GatewayKeys{{Public: g.SigningKey, Until: g.Until}}
	}
	newest, err := v.readPolicies(o.policies)
	if err != nil {
		return nil, err
	}
	switch err := p.remember(change, newest, copied); {
	case errors.Is(err, approval.ErrOlder) || errors.Is(err, approval.ErrSameRevision) || errors.Is(err, approval.ErrNotApproved) || errors.Is(err, errOthers):
		return nil, &exitError{exitProblems, fmt.Errorf("another fieldseal open remembered something newer just now: %w; %w", err, refused)}
	case err != nil:
		fmt.Fprintf(stderr, "fieldseal: the approvers cannot be remembered: %s\n", configs.Plain(err.Error()))
	}
	return v, nil
}

// readPolicies reads the policies of an audit and their signatures, and gives the
// newest to remember. Of that no older one is taken than was remembered; those
// before it were in force once, and their signatures are enough.
func (v *verified) readPolicies(paths []string) (newest approval.Copy, err error) {
	copies := map[int]approval.Copy{}
	for _, path := range paths {
		var c approval.Copy
		if c.File, err = readIf(path); err == nil && c.File == nil {
			err = fmt.Errorf("there is no policy %s", configs.Printable(path))
		}
		if err != nil {
			return newest, err
		}
		if c.Note, err = readIf(path + configs.SignatureSuffix); err != nil {
			return newest, err
		}
		a, err := v.signed(c)
		if err == nil && a.LeastTrust > v.who.Revision {
			err = fmt.Errorf("it takes effect with revision %d of the trust file, and this is %d", a.LeastTrust, v.who.Revision)
		}
		if err == nil && copies[a.Revision].File != nil {
			err = fmt.Errorf("revision %d is given twice", a.Revision)
		}
		if err != nil {
			return newest, refusedPolicy(path, err)
		}
		copies[a.Revision] = c
		v.policies = append(v.policies, signedPolicy{a, path})
	}
	if len(v.policies) == 0 {
		return newest, nil
	}
	slices.SortFunc(v.policies, func(a, b signedPolicy) int { return cmp.Compare(a.Revision, b.Revision) })
	last := v.policies[len(v.policies)-1]
	if _, err := approval.Accept(v.store.Accepted(), last.Approval); err != nil {
		return newest, refusedPolicy(last.path, err)
	}
	if accepted, c, ok := v.store.Last(approval.Policy); ok && accepted.Digest() == last.Digest() {
		return c, nil // whoever its approvers were
	}
	return copies[last.Revision], nil
}

// signed reads the approval of a policy. What was accepted stays accepted,
// whoever its approvers were.
func (v *verified) signed(c approval.Copy) (*approval.Approval, error) {
	if c.Note == nil {
		return nil, errors.New("it is not signed: there is no note with " + configs.SignatureSuffix + " beside it")
	}
	a, err := approval.Verify(approval.Policy, c.File, c.Note, v.store.Set())
	if err == nil {
		return a, nil
	}
	accepted, last, ok := v.store.Last(approval.Policy)
	if ok && bytes.Equal(last.File, c.File) && bytes.Equal(last.Note, c.Note) {
		return accepted, nil
	}
	return nil, err
}

func refusedPolicy(path string, err error) error {
	return &exitError{exitProblems, fmt.Errorf("the policy %s is refused, and nothing was read: %w", configs.Printable(path), err)}
}

// pins is what somebody who opens data remembers of a plant: the approvers, and
// the trust file that was verified last, so that an older one is not taken
// again. Without --approvers it is the plant that was remembered first; the
// others, each in a folder of its own that is named by the first set of its
// approvers, are found by the approvers that are given.
type pins struct {
	folder string          // empty where nothing can be remembered
	store  *approval.Store // nil: there are no approvers
	first  bool            // nothing is remembered of this plant yet
}

// errOthers means that others were remembered while this one looked.
var errOthers = errors.New("other approvers are remembered")

// pinned finds the approvers.
func (o *openOptions) pinned(stderr io.Writer) (p pins, err error) {
	config, err := os.UserConfigDir()
	if err != nil {
		fmt.Fprintf(stderr, "fieldseal: nothing is remembered here (%v): name the approvers with each call, and look yourself that the trust file is not an older one\n", err)
		if o.approvers == "" {
			return p, nil
		}
	}
	home := filepath.Join(config, "fieldseal")
	var given *approval.Set
	if o.approvers != "" {
		b, err := os.ReadFile(o.approvers)
		if err != nil {
			return p, fmt.Errorf("cannot read the approvers: %w", err)
		}
		set, err := approval.ParseSet(b)
		if err != nil {
			return p, fmt.Errorf("%s: %w", configs.Printable(o.approvers), err)
		}
		given = &set
	}
	if config == "" {
		p.store, err = approval.InMemory(*given)
		return p, err
	}
	usual, err := approval.Open(home)
	none := errors.Is(err, approval.ErrNotPinned)
	switch {
	case err != nil && !none:
		return p, err
	case given == nil && none:
		return p, nil
	case given == nil:
		return pins{folder: home, store: usual}, nil
	}
	if p, err = o.remembered(home, *given, stderr); err != nil || p.store != nil {
		return p, err
	}
	p = pins{folder: home, first: true}
	if !none {
		digest := given.Digest()
		p.folder = filepath.Join(plants(home), hex.EncodeToString(digest[:16]))
		fmt.Fprintf(stderr, "fieldseal: the approvers of %s are taken; those remembered in %s are others, and stay: name %[1]s with each call for its plant\n",
			configs.Printable(o.approvers), configs.Printable(home))
	}
	p.store, err = approval.InMemory(*given)
	return p, err
}

// plants is where further plants are remembered.
func plants(home string) string { return filepath.Join(home, "plants") }

// remembered finds the plant whose approvers are those of a set, or were: a file
// that is out of date does not bring them back.
func (o *openOptions) remembered(home string, set approval.Set, stderr io.Writer) (p pins, err error) {
	folders, err := filepath.Glob(filepath.Join(plants(home), "*"))
	if err != nil {
		return p, err
	}
	for _, folder := range append([]string{home}, folders...) {
		store, err := approval.Open(folder)
		switch {
		case errors.Is(err, approval.ErrNotPinned):
			continue
		case err != nil: // it may be the one
			return p, err
		case store.Set().Digest() == set.Digest():
			return pins{folder: folder, store: store}, nil
		case store.Had(set):
			fmt.Fprintf(stderr, "fieldseal: the approvers of %s were followed by others, who are remembered and stay: %s (revision %d)\n",
				configs.Printable(o.approvers), signers(store.Set()), store.Set().Revision)
			return pins{folder: folder, store: store}, nil
		}
	}
	return p, nil
}

// remember keeps what was verified. It looks once more under a lock: another
// process may have remembered something since.
func (p *pins) remember(change []byte, policy, trust approval.Copy) error {
	if p.folder == "" {
		return nil
	}
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(p.folder, "approvals.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	store, err := approval.Open(p.folder)
	if errors.Is(err, approval.ErrNotPinned) {
		store, err = approval.Create(p.folder, p.store.Set())
	}
	if err != nil {
		return err
	}
	if set := p.store.Set(); store.Set().Digest() != set.Digest() && !store.Had(set) {
		return errOthers
	}
	if change != nil {
		if _, err := store.Change(change); err != nil {
			return err
		}
	}
	_, err = store.Keep(policy, trust)
	return err
}
