package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// verifiedTrust reads the trust file and holds it against its approvers: those
// of --approvers, which are remembered, or those that are remembered. It is nil
// where there are neither.
func (o *openOptions) verifiedTrust(stderr io.Writer) (*envelope.Trust, error) {
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
	if t == nil {
		return nil, &exitError{exitProblems, fmt.Errorf("the trust file %s is refused, and nothing was opened", o.trust)}
	}
	if err := p.remember(change, copied); err != nil {
		fmt.Fprintf(stderr, "fieldseal: the approvers cannot be remembered: %v\n", err)
	}
	out := &envelope.Trust{Gateways: make(map[string]envelope.GatewayKeys)}
	for name, g := range t.Gateways {
		out.Gateways[name] = envelope.GatewayKeys{{Public: g.SigningKey, Until: g.Until}}
	}
	return out, nil
}

// pins is what somebody who opens data remembers: the approvers, and the trust
// file that was verified last, so that an older one is not taken again.
type pins struct {
	folder string
	store  *approval.Store // nil: there are no approvers
	first  bool            // nothing is remembered yet
	keep   bool            // these are to be remembered
}

// pinned finds the approvers.
func (o *openOptions) pinned(stderr io.Writer) (p pins, err error) {
	if folder, err := os.UserConfigDir(); err == nil {
		p.folder = filepath.Join(folder, "fieldseal")
		p.store, err = approval.Open(p.folder)
		p.first, p.keep = errors.Is(err, approval.ErrNotPinned), true
		if err != nil && !p.first {
			return p, err
		}
	}
	if o.approvers == "" {
		return p, nil
	}
	b, err := os.ReadFile(o.approvers)
	if err != nil {
		return p, fmt.Errorf("cannot read the approvers: %w", err)
	}
	set, err := approval.ParseSet(b)
	if err != nil {
		return p, fmt.Errorf("%s: %w", o.approvers, err)
	}
	if p.store != nil {
		if p.store.Set().Digest() == set.Digest() {
			return p, nil
		}
		fmt.Fprintf(stderr, "fieldseal: the approvers of %s are taken; those remembered in %s are others, and stay\n", o.approvers, p.folder)
		p.keep = false
	}
	p.store, err = approval.InMemory(set)
	return p, err
}

// remember keeps what was verified.
func (p *pins) remember(change []byte, trust approval.Copy) error {
	if !p.keep {
		return nil
	}
	if p.first {
		if err := os.MkdirAll(p.folder, 0o700); err != nil {
			return err
		}
		var err error
		if p.store, err = approval.Create(p.folder, p.store.Set()); err != nil {
			return err
		}
	}
	if change != nil {
		if _, err := p.store.Change(change); err != nil {
			return err
		}
	}
	_, err := p.store.Keep(approval.Copy{}, trust)
	return err
}
