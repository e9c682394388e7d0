package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// onePerson is what to know while there is one approver.
const onePerson = `One approver is enough to begin with, and may be the engineer too. To separate the two later: somebody else
makes a key (fieldseal keys approver NAME), and you sign the new set (fieldseal policy sign --approvers FILE).
`

func keysApprover() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "approver NAME",
		Short: "Make the key of somebody who approves policy and trust file",
		Long: `Approver makes NAME.approver, which signs and belongs to the person who keeps it, and NAME.approver.pub,
which gateways and receivers pin. Run it on that person's machine, not on the gateway.`,
		Args: takes("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if besideState(dir) {
				return fmt.Errorf("%s is a gateway's state folder; whoever has the gateway could approve what it sends, so make the key on the machine of the person who keeps it", dir)
			}
			secret, public, err := approval.NewApprover(args[0])
			if err != nil {
				return noLook(err)
			}
			secretFile, publicFile := filepath.Join(dir, args[0]+".approver"), filepath.Join(dir, args[0]+".approver.pub")
			if err := writeNew(secretFile, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
				return err
			}
			if err := writeNew(publicFile, []byte(public+"\n"), 0o644); err != nil {
				return errors.Join(err, os.Remove(secretFile))
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "approver    %s (keep it; whoever has it signs as %s)\npublic key  %s\n\nOn each gateway, once:\n  fieldseal keys init --approver %s\n",
				secretFile, args[0], publicFile, public)
			return err
		},
	}
	c.Flags().StringVarP(&dir, "output", "o", ".", "folder to write into")
	return c
}

// parseApprover reads a public key, or the file that holds it.
func parseApprover(arg string) (string, error) {
	if _, err := approval.ParsePublic(arg); err == nil {
		return arg, nil
	}
	b, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q is neither the public key of an approver nor a file; name NAME.approver.pub, as fieldseal keys approver makes it", arg)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the public key of an approver: %w", err)
	}
	key := strings.TrimSpace(string(b))
	if _, err := approval.ParsePublic(key); err != nil {
		return "", fmt.Errorf("%s: %w", arg, err)
	}
	return key, nil
}

// approverSet makes the first set of some keys or files.
func approverSet(args []string, threshold int) (approval.Set, error) {
	var keys []string
	for _, arg := range args {
		key, err := parseApprover(arg)
		if err != nil {
			return approval.Set{}, err
		}
		keys = append(keys, key)
	}
	return approval.NewSet(threshold, keys...)
}

// signers says who signs: "anna", "2 of anna, ben and carl".
func signers(set approval.Set) string {
	names := set.Names()
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%d of %s", set.Threshold, list(names))
}

func list(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// load reads the configuration and holds it against what its state folder knows
// of approvals. Where no approvers are pinned, everything is read as a draft.
func load(file string) (c *configs.Config, problems []configs.Problem, pinned bool, err error) {
	where, _ := configs.LoadBasics(file)
	if where == nil { // Load says why
		c, problems = configs.Load(file, configs.Options{Draft: true})
		return c, problems, false, nil
	}
	store, err := approval.Open(where.State)
	switch {
	case errors.Is(err, approval.ErrNotPinned):
		c, problems = configs.Load(file, configs.Options{Draft: true})
		return c, problems, false, nil
	case err != nil:
		return nil, nil, false, err
	}
	c, problems = configs.Load(file, configs.Options{Approvals: store})
	return c, problems, true, nil
}

var errNotPinned = errors.New("no approvers are pinned, so nobody could approve policy and trust file; name them with: fieldseal keys init --approver KEY")
