package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make and show keys",
		Long: `A gateway's private keys stand in the keystore of its state folder. The identities that open data
are made by the people who keep them, on other machines.`,
	}
	c.AddCommand(keysInit(), keysRecipient(), keysApprover(), keysList(), keysExport(), keysImport())
	return c
}

func keysInit() *cobra.Command {
	var file string
	var approvers []string
	var threshold int
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the keystore of a new gateway, and pin its approvers",
		Long: `Init makes the gateway's own keys and pins the approvers: policy and trust file take effect only with
their signatures. Where the keys are there already and no approvers are, it pins those. A keystore is never made
anew; what an earlier version did not put into it is added.

Make an approver's key on the machine of the person who keeps it: fieldseal keys approver NAME.
` + onePerson,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			where, err := basics(c, file)
			if err != nil {
				return err
			}
			_, err = approval.Open(where.State)
			pinned := !errors.Is(err, approval.ErrNotPinned)
			switch {
			case pinned && err != nil:
				return err
			case pinned:
				if added, err := complete(c.OutOrStdout(), where); added || err != nil && !errors.Is(err, keystore.ErrNoCredential) {
					return err
				}
				if err := keystore.Absent(where.State); err != nil {
					return err
				}
				return fmt.Errorf("approvers are pinned in %s already, and there is no keystore: put it back from a copy of the state folder, or begin with an empty one", where.State)
			case len(approvers) == 0:
				return errors.New("--approver is missing: name who approves policy and trust file; whoever has no key yet makes one, on their own machine: fieldseal keys approver NAME; that may be you, if there is nobody else yet")
			}
			set, err := approverSet(approvers, threshold)
			if err != nil {
				return noLook(err)
			}
			if keystore.Exists(where.State) {
				if _, err := complete(c.OutOrStdout(), where); err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "fieldseal: the keystore is left as it is: %v\n", err)
				}
				if err := pin(c.OutOrStdout(), where.State, set); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "\nWere approvers pinned here before, their memory is gone: an older policy or trust file would be accepted\nat the next start. Before it, ask them which revisions were in force last, or look for policy-accepted and\ntrust-accepted in %s; then look at `fieldseal policy show`.\n",
					configs.Printable(filepath.Join(where.State, "events.jsonl")))
				return err
			}
			if err := keystore.Absent(where.State); err != nil {
				return err
			}
			if err := os.MkdirAll(where.State, 0o700); err != nil {
				return fmt.Errorf("cannot make the state folder: %w", err)
			}
			credential, path, err := keystore.Credential(where.State, where.Credential)
			made := ""
			if errors.Is(err, keystore.ErrNoCredential) {
				credential, path, err = keystore.MakeCredential(where.State, where.Credential)
				made = " (made now; keep it elsewhere if you can: who copies the state folder has both)"
			}
			if err != nil {
				return err
			}
			store, err := keystore.Create(where.State, where.Gateway, credential, time.Now())
			if err != nil {
				return err
			}
			signing, err := store.PublicSigning()
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "keystore    %s\n", filepath.Join(where.State, "keystore"))
			fmt.Fprintf(out, "credential  %s%s\n\n", path, made)
			fmt.Fprintf(out, "Write into the trust file, under gateways:\n  %s: {signing_key: %q, until: %d-12-31}\n\n",
				where.Gateway, signing, time.Now().Year()+2)
			fmt.Fprintf(out, "What the broker must trust:\n  fieldseal keys export %s\n\n", keystore.Uplink)
			return pin(out, where.State, set)
		},
	}
	configFlag(c, &file)
	c.Flags().StringArrayVar(&approvers, "approver", nil, "public key of an approver, or its file; may be given several times")
	c.Flags().IntVar(&threshold, "threshold", 1, "how many of them have to sign")
	return c
}

// complete adds to a keystore what an earlier version did not make.
func complete(out io.Writer, where *configs.Basics) (added bool, err error) {
	if !keystore.Exists(where.State) {
		return false, nil
	}
	store, err := unlock(where.State, where.Credential)
	if err != nil {
		return false, err
	}
	made, err := store.Complete(where.Gateway, time.Now())
	if err != nil || len(made) == 0 {
		return false, err
	}
	if err := store.Save(); err != nil {
		return false, err
	}
	_, err = fmt.Fprintf(out, "added to the keystore: %s; everything else in it is as it was\n", list(made))
	return true, err
}

// pin pins the approvers of a gateway.
func pin(out io.Writer, state string, set approval.Set) error {
	if _, err := approval.Create(state, set); err != nil {
		return err
	}
	fmt.Fprintf(out, "approvers   %s\n", signers(set))
	if len(set.Approvers) == 1 {
		fmt.Fprint(out, onePerson)
	}
	_, err := fmt.Fprint(out, "\nTo approve policy and trust file, on the approver's machine:\n  fieldseal policy sign --key NAME.approver\n")
	return err
}

func keysRecipient() *cobra.Command {
	var dir, algorithm string
	c := &cobra.Command{
		Use:   "recipient NAME",
		Short: "Make an identity that opens data, and its public key",
		Long: `Recipient makes NAME.identity, which opens what is sealed for NAME and belongs to the person who keeps it,
and NAME.pub, which belongs into the trust file. Run it on that person's machine, not on the gateway.`,
		Args: takes("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			if !validName(name) {
				return noLook(fmt.Errorf("%q is no name for a recipient; write lower-case letters, digits and dashes", name))
			}
			if besideState(dir) {
				return fmt.Errorf("%s is a gateway's state folder; a gateway must not hold a key that opens what it sealed, so make the identity on the machine of the person who keeps it", dir)
			}
			alg, err := envelope.ParseAlgorithm(algorithm)
			if err != nil {
				return noLook(err)
			}
			id, err := envelope.NewIdentity(alg, name)
			if err != nil {
				return noLook(err)
			}
			public := id.Recipient().Marshal()
			secretFile, publicFile := filepath.Join(dir, name+".identity"), filepath.Join(dir, name+".pub")
			if err := writeNew(secretFile, id.Marshal(), 0o600); err != nil {
				return err
			}
			if err := writeNew(publicFile, public, 0o644); err != nil {
				return errors.Join(err, os.Remove(secretFile))
			}
			sum := sha256.Sum256(public)
			_, err = fmt.Fprintf(c.OutOrStdout(), "identity    %s (keep it; nothing else opens what is sealed for %s)\npublic key  %s\n\nWrite into the trust file, under recipients:\n  %s: {keys: [{file: %s, sha256: %q}]}\n",
				secretFile, name, publicFile, name, filepath.Base(publicFile), hex.EncodeToString(sum[:]))
			return err
		},
	}
	c.Flags().StringVarP(&dir, "output", "o", ".", "folder to write into")
	c.Flags().StringVar(&algorithm, "algorithm", "mlkem768-x25519", "mlkem768-x25519, mlkem768-p256, p256 or x25519; the last two are not safe against a quantum computer, for the whole group of a level")
	return c
}

func keysList() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "list", Short: "List what the keystore holds", Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := openStore(c, file)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "name\tkind\tmade\tuntil\tpublic")
			for _, i := range store.List() {
				until := ""
				if !i.Until.IsZero() {
					until = i.Until.Format(time.DateOnly)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Name, i.Kind, i.Made.Format(time.DateOnly), until, strings.TrimSpace(i.Public+i.Subject))
			}
			return t.Flush()
		},
	}
	configFlag(c, &file)
	return c
}

func keysExport() *cobra.Command {
	var file string
	var request, der bool
	c := &cobra.Command{
		Use:   "export NAME",
		Short: "Print what others need of a key: the certificate, or the signing key's public half",
		Args:  takes("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(c, file)
			if err != nil {
				return err
			}
			var out []byte
			switch {
			case args[0] == keystore.Signing:
				var s string
				s, err = store.PublicSigning()
				out = []byte(s + "\n")
			case request:
				out, err = store.RequestPEM(args[0])
			case der:
				out, err = store.CertificateDER(args[0])
			default:
				out, err = store.CertificatePEM(args[0])
			}
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(out)
			return err
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&der, "der", false, "print the certificate in DER, as OPC UA servers want it in a .der file")
	c.Flags().BoolVar(&request, "request", false, "print a certificate request (PKCS #10) for the plant's authority instead")
	return c
}

func keysImport() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "import NAME CERTIFICATE.pem",
		Short: "Put the certificate that an authority issued in place of the self-signed one",
		Args:  takes("NAME", "CERTIFICATE.pem"),
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(c, file)
			if err != nil {
				return err
			}
			pem, err := os.ReadFile(args[1])
			if err != nil {
				return noLook(err)
			}
			if err := store.Import(args[0], pem); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "imported; a running gateway uses it after its next start")
			return err
		},
	}
	configFlag(c, &file)
	return c
}

func openStore(c *cobra.Command, file string) (*keystore.Store, error) {
	where, err := basics(c, file)
	if err != nil {
		return nil, err
	}
	return unlock(where.State, where.Credential)
}

func validName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-'
}

// besideState tells whether a folder, or one above it, is a gateway's state.
func besideState(dir string) bool {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for ; ; abs = filepath.Dir(abs) {
		if keystore.Exists(abs) {
			return true
		}
		if abs == filepath.Dir(abs) {
			return false
		}
	}
}

// writeNew writes a file that must not exist.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already and is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
