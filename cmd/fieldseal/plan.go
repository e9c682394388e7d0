package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
)

// planning is one run of plan.
type planning struct {
	file     string
	against  string
	asJSON   bool
	draft    bool
	exitCode bool
}

func planCommand() *cobra.Command {
	var p planning
	c := &cobra.Command{
		Use:   "plan [MACHINE]",
		Short: "Show what is read, how each point leaves and why, and who can read what",
		Long: `Plan shows what a gateway does with its configuration, without connecting to anything: of each point the request
that it is read in, its level, how it leaves and which rule says so; then who can read what, and what stays visible
upstream without a key. MACHINE is a name or a pattern: "press-*".

On the gateway it goes by what approvers signed, elsewhere and with --draft as if everything were signed.

With --against it shows what a change does, as if both were signed: which points become readable by whom, which leave
otherwise, which are new or gone. What lets somebody read more, or protects less, comes first and is marked with !.
It compares with the gateway file of the same name in another folder, or in a git revision of this one.

Exit codes: 0 shown, 1 the configuration has problems that stop a start (or, with --exit-code, the change lets somebody
read more or protects less), 2 it could not look.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			match := func(string) bool { return true }
			if len(args) == 1 {
				pattern := args[0]
				if _, err := path.Match(pattern, ""); err != nil {
					return noLook(fmt.Errorf("%q is no name and no pattern of machines", pattern))
				}
				match = func(machine string) bool { ok, _ := path.Match(pattern, machine); return ok }
			}
			return p.run(c, args, match)
		},
	}
	configFlag(c, &p.file)
	f := c.Flags()
	f.StringVar(&p.against, "against", "", "compare with another configuration folder, or with a git revision")
	f.BoolVar(&p.asJSON, "json", false, "print it as JSON")
	f.BoolVar(&p.draft, "draft", false, "take everything as if it were signed")
	f.BoolVar(&p.exitCode, "exit-code", false, "with --against: end with 1 where somebody can read more, or something is protected less")
	return c
}

func (p *planning) run(c *cobra.Command, args []string, match func(string) bool) error {
	stdout, stderr := c.OutOrStdout(), c.ErrOrStderr()
	l, draft, leftOut, err := p.load(stderr)
	if err != nil {
		return err
	}
	config, folder := l.config, filepath.Dir(p.file)
	if p.against == "" {
		next := newPlan(config, folder, draft, l.clock.deciding, match)
		next.Clock = l.clock.words()
		if len(args) == 1 && len(next.Machines) == 0 {
			return noLook(noMachine(config, args[0]))
		}
		if p.asJSON {
			err = writeJSON(stdout, next)
		} else {
			err = next.print(stdout)
		}
		return errors.Join(err, leftOut)
	}
	// A comparison says what the files say, so it is the same on each machine.
	now := time.Now()
	next := newPlan(config, folder, true, now, match)
	before, wrong, err := planAgainst(c.Context(), p.file, p.against, now, match)
	if err != nil {
		return noLook(err)
	}
	if len(args) == 1 && len(next.Machines) == 0 && len(before.Machines) == 0 {
		return noLook(noMachine(config, args[0]))
	}
	for _, problem := range wrong {
		if _, err := fmt.Fprintf(stderr, "before, left out: %s\n", problem.String()); err != nil {
			return err
		}
	}
	changes := comparePlans(before, next)
	if p.asJSON {
		err = writeJSON(stdout, changes)
	} else {
		err = changes.print(stdout, p.against)
	}
	if err == nil && p.exitCode && changes.Looser > 0 {
		return &exitError{exitProblems, errors.New(count(changes.Looser, "change") + " for the looser, marked with !")}
	}
	return errors.Join(err, leftOut)
}

// load reads the configuration, as it is in force or as it would be signed.
// leftOut says that machines are missing from it.
func (p *planning) load(stderr io.Writer) (l atClock, draft bool, leftOut, err error) {
	if p.against != "" {
		l.clock = systemClock()
		l.config, l.problems = configs.Load(p.file, configs.Options{Draft: true})
		draft = true
	} else if l, err = loadAtClock(p.file, p.draft); err != nil {
		return l, false, nil, noLook(err)
	} else {
		draft = p.draft || !l.pinned
	}
	var wrong []configs.Problem // notes belong to check
	for _, problem := range l.problems {
		if !problem.Note {
			wrong = append(wrong, problem)
		}
		if problem.LeavesOut() {
			leftOut = &exitError{exitProblems, errors.New("machines with problems are not in it")}
		}
	}
	if err := report(stderr, wrong, false); err != nil {
		return l, false, nil, err
	}
	switch {
	case unreadable(l.problems, p.file):
		return l, false, nil, noLook(fmt.Errorf("cannot look at %s; name the gateway file with -c FILE or FIELDSEAL_CONFIG", configs.Printable(p.file)))
	case l.config == nil:
		return l, false, nil, errors.New("there is no plan before the problems above are mended")
	}
	return l, draft, leftOut, nil
}

func noMachine(config *configs.Config, pattern string) error {
	var names []string
	for i := range config.Machines {
		names = append(names, config.Machines[i].Name)
	}
	return fmt.Errorf("no machine is called %q; there are %s", pattern, runs(names))
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
