package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

func checkCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration: every problem with file, line, column and what to write instead",
		Long: `Check reads the gateway file and everything it names, without connecting to anything. In the gateway's
state folder it finds who has to approve; without it, as on an engineer's machine, signatures are not looked at.
Exit codes: 0 fine (there may be notes), 1 problems, 2 the gateway file could not be read.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			config, problems, pinned, err := load(file)
			if err != nil {
				return noLook(err)
			}
			if config != nil && !pinned {
				problems = append(problems, configs.Problem{
					File: file, Note: true, What: "signatures are not looked at: no approvers are pinned in the state folder",
					Instead: "on the gateway: fieldseal keys init --approver KEY",
				})
				problems = append(problems, unsigned(config)...)
			}
			if err := report(c.OutOrStdout(), problems, asJSON); err != nil {
				return err
			}
			bad := 0
			for _, p := range problems {
				if !p.Note {
					bad++
				}
			}
			switch {
			case unreadable(problems, file):
				return noLook(fmt.Errorf("cannot look at %s; name the gateway file with -c FILE or FIELDSEAL_CONFIG", file))
			case bad > 0:
				return &exitError{exitProblems, errors.New(count(bad, "problem"))}
			}
			if !asJSON {
				points := 0
				for i := range config.Machines {
					points += len(config.Machines[i].Points)
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s: fine: %s, %s, policy %s revision %d\n",
					file, count(len(config.Machines), "machine"), count(points, "point"), config.Policy.Name, config.Policy.Revision)
				return err
			}
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as a JSON array")
	return c
}

// unsigned notes where the notes beside policy and trust file do not say what a
// draft does, whoever signed them.
func unsigned(c *configs.Config) (notes []configs.Problem) {
	for path, next := range map[string]*approval.Approval{
		c.PolicyFile: approval.OfPolicy(&c.Policy, c.Table()), c.TrustFile: c.Trust.Approval(),
	} {
		b, _ := readIf(path + configs.SignatureSuffix)
		a, err := approval.ParseUnverified(b)
		if err == nil && a.Kind == approval.Policy {
			t, _ := a.Table(c.Gateway)
			a.Tables = []approval.Table{t} // those of others are not looked at
		}
		if err != nil || a.Text() != next.Text() {
			notes = append(notes, configs.Problem{
				File: path, Note: true, What: "it is not signed as it stands, with what machines' files say",
				Instead: "raise its revision if it was signed before, and have it signed: fieldseal policy sign",
			})
		}
	}
	slices.SortFunc(notes, func(a, b configs.Problem) int { return strings.Compare(a.File, b.File) })
	return notes
}

// count gives a number of things: "1 machine", "2 machines".
func count[N int | uint64](n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// unreadable tells whether the gateway file itself could not be looked at.
func unreadable(problems []configs.Problem, file string) bool {
	for _, p := range problems {
		if p.File == file && p.Line == 0 && p.Fatal {
			return true
		}
	}
	return false
}

func report(w io.Writer, problems []configs.Problem, asJSON bool) error {
	if asJSON {
		if problems == nil {
			problems = []configs.Problem{}
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(problems)
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(w, p.String()); err != nil {
			return err
		}
	}
	return nil
}
