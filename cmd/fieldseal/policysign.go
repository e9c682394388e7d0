package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// beforeSuffix follows the name of the note that a new one took the place of:
// the next approver is shown the difference to what he signed.
const beforeSuffix = configs.SignatureSuffix + ".before"

// signing is one run of policy sign.
type signing struct {
	out, stderr io.Writer
	in          io.Reader
	yes         bool
	secret      approval.Secret
	own         approval.Set // the one who signs
}

func policySign() *cobra.Command {
	var s signing
	var files []string
	var key, set string
	c := &cobra.Command{
		Use:   "sign",
		Short: "Approve policy and trust file, after a look at what changes",
		Long: `Sign shows what leaves in clear, who can read what and each exception, as the difference to what you signed
before, and asks. Then it writes policy.yaml.sig and trust.yaml.sig beside the files. Several approvers sign one
after the other. It needs a copy of the configuration folder, and nothing of the gateway itself.

A policy that several gateways share is signed for all of them at once: name each gateway file with -c. A gateway
that is not named keeps what you signed for it before, as long as the trust file lists it.

With --approvers it signs the next set of approvers instead, in FILE.sig; carry it as ` + configs.ApproversFile + ` beside
the policy. FILE is a copy of what policy show --approvers prints, with a higher revision.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			s.out, s.stderr, s.in = c.OutOrStdout(), c.ErrOrStderr(), c.InOrStdin()
			if err := s.open(key); err != nil {
				return noLook(err)
			}
			if set != "" {
				return s.approvers(set)
			}
			return s.policy(files)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "config", "c", []string{standardConfig()}, "a gateway file (FIELDSEAL_CONFIG); may be given several times")
	f.StringVar(&key, "key", "", "secret key of the approver: NAME.approver")
	f.StringVar(&set, "approvers", "", "sign this next set of approvers instead")
	f.BoolVar(&s.yes, "yes", false, "do not ask: for scripts")
	return c
}

// open reads the approver's key.
func (s *signing) open(file string) error {
	if file == "" {
		return errors.New("--key is missing; name the secret key of the approver: NAME.approver")
	}
	if besideState(filepath.Dir(file)) {
		return fmt.Errorf("%s is in a gateway's state folder; whoever has the gateway could approve what it sends, so sign on a machine of your own, with a copy of the configuration folder", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the approver's key: %w", err)
	}
	if s.secret, err = approval.ParseSecret(string(b)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s.own, err = approval.NewSet(1, s.secret.Public())
	return err
}

// policy signs the policy and the trust file of some gateways.
func (s *signing) policy(files []string) error {
	var all []*configs.Config
	for _, file := range files {
		c, problems := configs.Load(file, configs.Options{Draft: true})
		if err := report(s.stderr, problems, false); err != nil {
			return err
		}
		switch {
		case unreadable(problems, file):
			return noLook(fmt.Errorf("cannot look at %s; name the gateway file with -c FILE or FIELDSEAL_CONFIG", file))
		case c == nil:
			return errors.New("nothing is signed before the problems above are mended")
		}
		if first := append(all, c)[0]; first.Policy.Digest != c.Policy.Digest || first.Trust.Digest != c.Trust.Digest {
			return noLook(fmt.Errorf("%s has another policy or trust file than %s; sign them one after the other", file, files[0]))
		}
		all = append(all, c)
	}
	first := all[0]
	before, err := s.before(first.PolicyFile, approval.Policy)
	if err != nil {
		return err
	}
	next := approval.OfPolicy(&first.Policy, tables(all, before)...)
	var notes []note
	for _, n := range []struct {
		kind approval.Kind
		next *approval.Approval
		path func(*configs.Config) string
	}{
		{approval.Policy, next, func(c *configs.Config) string { return c.PolicyFile }},
		{approval.Trust, first.Trust.Approval(), func(c *configs.Config) string { return c.TrustFile }},
	} {
		var paths []string
		for _, c := range all {
			paths = append(paths, n.path(c))
		}
		signed, err := s.prepare(slices.Compact(paths), n.next)
		if err != nil {
			return err
		}
		notes = append(notes, signed...)
	}
	for _, name := range slices.Sorted(maps.Keys(first.Trust.Gateways)) {
		if _, ok := next.Table(name); !ok && len(notes) > 0 {
			fmt.Fprintf(s.out, "%s is in the trust file and not named with -c: nothing is signed for it, so that all its points have level %s or a stricter one\n", name, first.Policy.Default)
		}
	}
	if len(notes) == 0 {
		_, err := fmt.Fprintf(s.out, "%s and %s are signed by %s already\n", first.PolicyFile, first.TrustFile, s.secret.Name())
		return err
	}
	return s.finish(notes)
}

// tables gives what is signed for each gateway. One that is not named keeps what
// the same approver signed before, while the trust file lists it.
func tables(all []*configs.Config, before *approval.Approval) (out []approval.Table) {
	named := map[string]bool{}
	for _, c := range all {
		if !named[c.Gateway] {
			out = append(out, c.Table())
		}
		named[c.Gateway] = true
	}
	if before == nil {
		return out
	}
	for _, t := range before.Tables {
		if _, listed := all[0].Trust.Gateways[t.Gateway]; !listed || named[t.Gateway] {
			continue
		}
		t.Entries = slices.DeleteFunc(slices.Clone(t.Entries), func(e approval.Entry) bool {
			_, known := all[0].Policy.Level(e.Level)
			return !known
		})
		out = append(out, t)
	}
	return out
}

// note is one that is to be written.
type note struct {
	path    string
	content []byte
	old     []byte // that it takes the place of; nil where it adds a signature
}

// before gives what the same approver signed last: only his own signature makes
// it something that he has seen. Nil where he signed nothing.
func (s *signing) before(path string, kind approval.Kind) (*approval.Approval, error) {
	var newest *approval.Approval
	for _, suffix := range []string{configs.SignatureSuffix, beforeSuffix} {
		b, err := readIf(path + suffix)
		if err != nil {
			return nil, err
		}
		if a, err := approval.ParseApproval(b, s.own); err == nil && a.Kind == kind && (newest == nil || a.Revision > newest.Revision) {
			newest = a
		}
	}
	return newest, nil
}

// prepare shows what changes, and gives the notes to write.
func (s *signing) prepare(paths []string, next *approval.Approval) (out []note, err error) {
	path := paths[0]
	old, err := readIf(path + configs.SignatureSuffix)
	if err != nil {
		return nil, err
	}
	before, err := s.before(path, next.Kind)
	if err != nil {
		return nil, err
	}
	if there, err := approval.ParseUnverified(old); err == nil && there.Kind == next.Kind && there.Text() != next.Text() {
		if err := raised(path, next, there); err != nil {
			return nil, err
		}
	}
	if before != nil {
		if before.Text() == next.Text() {
			if a, err := approval.ParseApproval(old, s.own); err == nil && a.Text() == next.Text() {
				return nil, nil // nothing to add
			}
		} else if err := raised(path, next, before); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(s.out, "%s, revision %d", filepath.Base(path), next.Revision)
	if before == nil {
		fmt.Fprintf(s.out, ": %s has signed none before, so this is all of it\n", s.secret.Name())
	} else {
		fmt.Fprintf(s.out, ": what changes against revision %d, which %s signed\n", before.Revision, s.secret.Name())
	}
	printChanges(s.out, approval.Diff(before, next))
	fmt.Fprintln(s.out)

	signed, err := approval.Sign(old, next.Text(), s.secret)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		n := note{path: path, content: signed}
		if there, err := approval.ParseUnverified(old); err == nil && there.Text() != next.Text() {
			n.old = old
		}
		out = append(out, n)
	}
	return out, nil
}

// raised refuses a revision that was signed with other content.
func raised(path string, next, old *approval.Approval) error {
	if next.Revision > old.Revision {
		return nil
	}
	return fmt.Errorf("%s: revision %d is signed with other content (policy, or what machines' files say of it); write revision: %d", path, old.Revision, old.Revision+1)
}

// approvers signs the next set of approvers.
func (s *signing) approvers(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return noLook(err)
	}
	set, err := parseSet(b)
	if err != nil {
		return noLook(fmt.Errorf("%s: %w", file, err))
	}
	old, err := readIf(file + configs.SignatureSuffix)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "From now on policy and trust file take the signatures of %s (approvers, revision %d):\n", signers(set), set.Revision)
	for _, a := range set.Approvers {
		fmt.Fprintf(s.out, "   %s\n", a.Key)
	}
	fmt.Fprintln(s.out)
	signed, err := approval.Sign(old, set.Text(), s.secret)
	if err != nil {
		return err
	}
	return s.finish([]note{{path: file, content: signed}})
}

// parseSet reads a set that people may have written, in any order.
func parseSet(b []byte) (approval.Set, error) {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(b), "\r", "")), "\n")
	if len(lines) > 3 {
		slices.Sort(lines[3:])
	}
	return approval.ParseSet([]byte(strings.Join(lines, "\n") + "\n"))
}

// finish asks, and writes.
func (s *signing) finish(notes []note) error {
	if !s.yes {
		if err := s.ask(); err != nil {
			return err
		}
	}
	for _, n := range notes {
		path := n.path + configs.SignatureSuffix
		if n.old != nil {
			if err := replaceFile(n.path+beforeSuffix, n.old); err != nil {
				return err
			}
		}
		if err := replaceFile(path, n.content); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "signed by %s: %s\n", s.secret.Name(), path)
	}
	return nil
}

func (s *signing) ask() error {
	f, ok := s.in.(*os.File)
	if ok {
		info, err := f.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if !ok {
		return noLook(errors.New("nobody can be asked here: sign on a terminal, or look at the above and give --yes"))
	}
	fmt.Fprintf(s.out, "Sign this as %s? Write yes or no: ", s.secret.Name())
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("not signed")
	}
	return nil
}

// readIf reads a file; nil where there is none.
func readIf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, approval.MaxNote+1))
}

// replaceFile writes a file beside the old one and puts it in its place.
func replaceFile(path string, b []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already where all went well
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
