package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// signing is one run of policy sign.
type signing struct {
	out, stderr io.Writer
	in          io.Reader
	yes         bool
	secret      approval.Secret
	memory      memory
}

func policySign() *cobra.Command {
	var s signing
	var files []string
	var key, set, was string
	c := &cobra.Command{
		Use:   "sign",
		Short: "Approve policy and trust file, after a look at what changes",
		Long: `Sign shows what leaves in clear, who can read what and each exception, as the difference to what you signed
before, and asks. Then it writes policy.yaml.sig and trust.yaml.sig beside the files. What you signed last is kept
beside your key, in NAME.approver` + memorySuffix + `. Several approvers sign one after the other. It needs a copy of the
configuration folder, and nothing of the gateway itself.

A policy that several gateways share is signed for all of them at once: name each gateway file with -c. A gateway
that is not named keeps what the note beside the policy says of it, as long as the trust file lists it.

With --approvers it signs the next set of approvers instead, in FILE.sig; carry it as ` + configs.ApproversFile + ` beside
the policy. FILE is a copy of what policy show --approvers prints, with a higher revision; --was names what it printed.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			s.out, s.stderr, s.in = plainWriter{c.OutOrStdout()}, c.ErrOrStderr(), c.InOrStdin()
			if err := s.open(key); err != nil {
				return noLook(err)
			}
			if set != "" {
				return s.approvers(set, was, files[0])
			}
			return s.policy(files)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "config", "c", []string{standardConfig()}, "a gateway file (FIELDSEAL_CONFIG); may be given several times")
	f.StringVar(&key, "key", "", "secret key of the approver: NAME.approver")
	f.StringVar(&set, "approvers", "", "sign this next set of approvers instead")
	f.StringVar(&was, "was", "", "with --approvers: the set in force, to compare with")
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
	own, err := approval.NewSet(1, s.secret.Public())
	s.memory = memory{file + memorySuffix, s.secret.Name(), own}
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
	k, err := s.memory.look(first.PolicyFile, first.Policy.Name, approval.Policy)
	if err != nil {
		return err
	}
	tables, over := tables(all, k)
	next := approval.OfPolicy(&first.Policy, first.Trust.Revision, tables...).AsSigned(k.last).AsSigned(k.there)
	var extra []string
	if next.LeastTrust < first.Trust.Revision && (k.last == nil || k.last.Text() != next.Text()) {
		extra = append(extra, fmt.Sprintf(" ! it takes effect with revision %d of the trust file already, as the note beside it says; revision %d lies here", next.LeastTrust, first.Trust.Revision))
	}
	for _, c := range over {
		extra = append(extra, c.line(s.secret.Name(), first.PolicyFile))
	}
	for _, name := range slices.Sorted(maps.Keys(first.Trust.Gateways)) {
		if _, ok := next.Table(name); !ok {
			extra = append(extra, fmt.Sprintf(" ! %s is in the trust file and not named with -c: nothing is signed for it, so that all its points have level %s or a stricter one; name every gateway", name, first.Policy.Default))
		}
	}
	notes, err := s.prepare(k, paths(all, func(c *configs.Config) string { return c.PolicyFile }), first.Policy.Name, next, extra)
	if err != nil {
		return err
	}
	if k, err = s.memory.look(first.TrustFile, first.Policy.Name, approval.Trust); err != nil {
		return err
	}
	trust, err := s.prepare(k, paths(all, func(c *configs.Config) string { return c.TrustFile }), first.Policy.Name, first.Trust.Approval(), nil)
	if err != nil {
		return err
	}
	if notes = append(notes, trust...); len(notes) == 0 {
		_, err := fmt.Fprintf(s.out, "%s and %s are signed by %s already\n", first.PolicyFile, first.TrustFile, s.secret.Name())
		return err
	}
	return s.finish(notes)
}

func paths(all []*configs.Config, of func(*configs.Config) string) (out []string) {
	for _, c := range all {
		if p := of(c); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// toWrite is a note that is to be written, and remembered.
type toWrite struct {
	path    string
	content []byte
	policy  string // remembered under its name; empty: it is not
	kind    approval.Kind
}

// prepare shows what changes, and gives the notes to write; none where there is
// nothing to add.
func (s *signing) prepare(k known, paths []string, policy string, next *approval.Approval, extra []string) (out []toWrite, err error) {
	path := paths[0]
	for _, old := range []*approval.Approval{k.there, k.last} {
		if old != nil && old.Text() != next.Text() && next.Revision <= old.Revision {
			return nil, fmt.Errorf("%s: revision %d is signed with other content (the file, or what machines' files say of it; or somebody brought back an old one); write revision: %d",
				path, old.Revision, max(old.Revision, k.revision())+1)
		}
	}
	if err := approval.CheckRevision(k.revision(), next.Revision); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if k.last != nil && k.last.Text() == next.Text() && k.signed(next, s.memory.own) {
		return nil, nil
	}
	fmt.Fprintf(s.out, "%s, revision %d", filepath.Base(path), next.Revision)
	if k.last == nil {
		fmt.Fprintf(s.out, ": %s has signed none before, so this is all of it\n", s.secret.Name())
	} else {
		fmt.Fprintf(s.out, ": what changes against revision %d, which %s signed\n", k.last.Revision, s.secret.Name())
	}
	if odd := k.odd(s.memory); odd != "" {
		fmt.Fprintf(s.out, " ! LOOK: %s\n", odd)
	}
	printChanges(s.out, approval.Diff(k.last, next))
	for _, line := range extra {
		fmt.Fprintln(s.out, line)
	}
	fmt.Fprintln(s.out)

	signed, err := approval.Sign(k.note, next.Text(), s.secret)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		out = append(out, toWrite{path, signed, policy, next.Kind})
	}
	return out, nil
}

// finish asks, remembers and writes.
func (s *signing) finish(notes []toWrite) error {
	if !s.yes {
		if err := s.ask(); err != nil {
			return err
		}
	}
	for _, n := range notes {
		if n.policy == "" {
			continue
		}
		if err := s.memory.keep(n.policy, n.kind, n.content); err != nil {
			return err
		}
	}
	for _, n := range notes {
		path := n.path + configs.SignatureSuffix
		if err := replaceFile(path, n.content, 0o644); err != nil {
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
