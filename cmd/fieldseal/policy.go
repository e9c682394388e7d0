package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Approve policy and trust file; show what is in force",
		Long: `Policy and trust file take effect only with the signatures of their approvers, in policy.yaml.sig and
trust.yaml.sig beside them. What is signed says also which points do not leave like those that nobody labelled,
and where each is read: a machine's file that lets others read it later has no effect until it is approved again.`,
	}
	c.AddCommand(policySign(), policyShow())
	return c
}

func policyShow() *cobra.Command {
	var file string
	var set bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show what is in force: approvers, revisions, who can read what, what leaves more openly",
		Long: `Show prints what the gateway accepted last. Without the gateway's state folder, as on an engineer's machine,
it prints what the files beside the gateway file say, marked as not verified.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			where, err := basics(c, file)
			if err != nil {
				return err
			}
			store, err := approval.Open(where.State)
			out := plainWriter{c.OutOrStdout()}
			switch {
			case errors.Is(err, approval.ErrNotPinned) && set:
				return noLook(notPinned(where.State))
			case errors.Is(err, approval.ErrNotPinned):
				return showFiles(out, file)
			case err != nil:
				return noLook(err)
			case set:
				_, err := fmt.Fprint(out, store.Set().Text())
				return err
			}
			fmt.Fprintf(out, "approvers  %s (revision %d)\n", signers(store.Set()), store.Set().Revision)
			for _, kind := range []approval.Kind{approval.Policy, approval.Trust} {
				a, _, ok := store.Last(kind)
				if !ok {
					fmt.Fprintf(out, "\n%s: nothing was accepted yet; a start does that: fieldseal run\n", kind)
					continue
				}
				show(out, a, "accepted")
			}
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&set, "approvers", false, "print the set of approvers only, for those who open data: open --approvers FILE")
	return c
}

// showFiles shows what the notes beside the files say, whoever signed them.
func showFiles(out io.Writer, file string) error {
	c, problems := configs.Load(file, configs.Options{Draft: true})
	if c == nil {
		return noLook(fmt.Errorf("%s is not in order: %w", file, firstFatal(problems)))
	}
	for _, path := range []string{c.PolicyFile, c.TrustFile} {
		b, err := os.ReadFile(path + configs.SignatureSuffix)
		if err != nil {
			return noLook(fmt.Errorf("%s is not signed: %w", path, err))
		}
		a, err := approval.ParseUnverified(b)
		if err != nil {
			return fmt.Errorf("%s: %w", path+configs.SignatureSuffix, err)
		}
		show(out, a, "NOT VERIFIED: no approvers are pinned here")
		content, err := os.ReadFile(path)
		if err != nil {
			return noLook(err)
		}
		if err := a.Covers(content); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// show prints all that an approval says.
func show(out io.Writer, a *approval.Approval, how string) {
	name := string(a.Kind)
	if a.Name != "" {
		name += " " + a.Name
	}
	fmt.Fprintf(out, "\n%s, revision %d, %s\n", name, a.Revision, how)
	printChanges(out, approval.Diff(nil, a))
}

func printChanges(out io.Writer, changes []approval.Change) {
	for _, c := range changes {
		mark := " "
		if c.Looser {
			mark = "!"
		}
		fmt.Fprintf(out, " %s %s\n", mark, c.Text)
	}
}

// firstFatal gives the first problem that stops a start.
func firstFatal(problems []configs.Problem) error {
	for _, p := range problems {
		if p.Fatal {
			return p
		}
	}
	return errors.New("it cannot be read")
}
