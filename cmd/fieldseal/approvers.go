package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/keystore"
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
	} else if approval.IsSecret(arg) || strings.Contains(arg, "+") && !isFile(arg) { // a key, and which one nobody shall read here
		return "", err
	}
	b, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q is neither the public key of an approver nor a file; name NAME.approver.pub, as fieldseal keys approver makes it", arg)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the public key of an approver: %w", err)
	}
	key := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff")) // a mark that some editors write
	if _, err := approval.ParsePublic(key); err != nil {
		return "", fmt.Errorf("%s: %w", configs.Printable(arg), err)
	}
	return key, nil
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
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

// loaded is a configuration, and what its state folder knows.
type loaded struct {
	config   *configs.Config // nil where nothing can start
	problems []configs.Problem
	state    string // empty where the gateway file cannot be read
	pinned   bool   // there are approvers; else everything was read as a draft
	keys     *keystore.Store
	keysErr  error // why there are none
}

// load reads the configuration and holds it against what its state folder knows
// of approvals, and of the gateway's own key. notKept says why the folder takes
// nothing new; nil: it does.
func load(file string, notKept error) (l loaded, err error) {
	options := configs.Options{Draft: true, NotKept: notKept}
	where, _ := configs.LoadBasics(file)
	if where == nil { // Load says why
		l.config, l.problems = configs.Load(file, options)
		return l, nil
	}
	l.state = where.State
	if err := errors.Join(fixedState(where.State), keystore.Guard(where.State)); err != nil {
		return l, err
	}
	store, err := approval.Open(where.State)
	if err != nil && !errors.Is(err, approval.ErrNotPinned) {
		return l, err
	}
	if l.pinned = err == nil; l.pinned {
		options.Draft, options.Approvals = false, store
	}
	if l.keys, l.keysErr = unlock(where.State, where.Credential); l.keysErr == nil {
		options.Own, l.keysErr = l.keys.SigningKey()
	}
	l.config, l.problems = configs.Load(file, options)
	return l, nil
}
