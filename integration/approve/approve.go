// Package approve plays the approver of a plant, for tests and the demo: it
// signs whatever stands there, without a look at it.
package approve

import (
	"errors"
	"fmt"
	"os"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// Approver is somebody who approves.
type Approver struct {
	Secret approval.Secret
	Public string
}

// New makes an approver with a key.
func New(name string) (*Approver, error) {
	secret, public, err := approval.NewApprover(name)
	return &Approver{secret, public}, err
}

// Set gives a set of approvers of which so many have to sign.
func Set(threshold int, all ...*Approver) (approval.Set, error) {
	var keys []string
	for _, a := range all {
		keys = append(keys, a.Public)
	}
	return approval.NewSet(threshold, keys...)
}

// Pin makes them the approvers of a state folder.
func Pin(state string, threshold int, all ...*Approver) error {
	set, err := Set(threshold, all...)
	if err == nil {
		_, err = approval.Create(state, set)
	}
	return err
}

// Sign signs the policy and the trust file of some gateways as they stand.
func (a *Approver) Sign(gatewayFiles ...string) error {
	var all []*configs.Config
	var tables []approval.Table
	for _, file := range gatewayFiles {
		c, problems := configs.Load(file, configs.Options{Draft: true})
		if c == nil {
			return fmt.Errorf("%s cannot be signed: %v", file, problems)
		}
		all, tables = append(all, c), append(tables, c.Table())
	}
	for _, c := range all {
		if err := errors.Join(
			a.add(c.PolicyFile, approval.OfPolicy(&c.Policy, c.Trust.Revision, tables...)),
			a.add(c.TrustFile, c.Trust.Approval()),
		); err != nil {
			return err
		}
	}
	return nil
}

// add adds a signature beside a file.
func (a *Approver) add(path string, next *approval.Approval) error {
	path += configs.SignatureSuffix
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if earlier, err := approval.ParseUnverified(old); err == nil {
		next = next.AsSigned(earlier)
	}
	signed, err := approval.Sign(old, next.Text(), a.Secret)
	if err != nil {
		return err
	}
	return os.WriteFile(path, signed, 0o600)
}
