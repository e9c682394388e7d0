package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
)

func checkCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration: every problem with file, line, column and what to write instead",
		Long: `Check reads the gateway file and everything it names, without connecting to anything.
Exit codes: 0 fine (there may be notes), 1 problems, 2 the gateway file could not be read.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			config, problems := configs.Load(file, configs.Options{})
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
