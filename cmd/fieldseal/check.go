package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// checking is one run of check.
type checking struct {
	file    string
	format  string
	asJSON  bool
	online  bool
	timeout time.Duration
}

func checkCommand() *cobra.Command {
	var k checking
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration: every problem with file, line, column and what to write instead",
		Long: `Check reads the gateway file and everything it names, without connecting to anything. In the gateway's
state folder it finds who has to approve, and whether the keys and credentials are there that the files name;
without it, as on an engineer's machine, signatures and secrets are not looked at.

With --online it connects to the machines and the uplinks as well: it reads each point once, compares what was
negotiated with what the levels ask for, and looks how the stream upstream is configured. It only reads: it writes to
no machine and publishes nothing.

Exit codes: 0 fine (there may be notes), 1 problems, 2 the gateway file could not be read, or something else could not
be looked at.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := k.understand(c); err != nil {
				return noLook(err)
			}
			return k.run(c)
		},
	}
	configFlag(c, &k.file)
	f := c.Flags()
	f.StringVar(&k.format, "format", formatText, "how to print it: text, json, or github for annotations in a GitHub workflow")
	f.BoolVar(&k.asJSON, "json", false, "print the problems as a JSON array: --format json")
	f.BoolVar(&k.online, "online", false, "connect to machines and uplinks too, read only")
	f.DurationVar(&k.timeout, "timeout", 15*time.Second, "with --online: how long it may take at most")
	return c
}

func (k *checking) understand(c *cobra.Command) error {
	if k.asJSON {
		if c.Flags().Changed("format") && k.format != formatJSON {
			return fmt.Errorf("--json and --format %s are there both; write one of them", k.format)
		}
		k.format = formatJSON
	}
	if !slices.Contains([]string{formatText, formatJSON, formatGitHub}, k.format) {
		return fmt.Errorf("there is no format %q; write text, json or github", k.format)
	}
	if k.timeout <= 0 {
		return errors.New("--timeout has to be longer than nothing; leave it out for 15s")
	}
	return nil
}

func (k *checking) run(c *cobra.Command) error {
	l, err := loadAtClock(k.file, false)
	if err != nil {
		return noLook(err)
	}
	config, problems, notSeen := l.config, l.problems, 0
	var answered []found
	if config != nil && !l.pinned {
		problems = append(problems, configs.Problem{
			File: k.file, Note: true, What: "signatures are not looked at: no approvers are pinned in the state folder",
			Instead: "on the gateway: fieldseal keys init --approver KEY",
		})
		problems = append(problems, unsigned(config)...)
	}
	if config != nil {
		problems = append(problems, l.clock.notes()...)
		problems = append(problems, l.secrets(k.file)...)
	}
	if config != nil && k.online {
		o := online{config: config, file: k.file, timeout: k.timeout, deciding: l.clock.deciding}
		if l.keysErr == nil {
			o.keys = l.keys
		}
		o.look(c.Context())
		answered, notSeen = o.found, o.notSeen
	}
	all := append(asFound(problems), answered...)
	if err := reportAs(c.OutOrStdout(), all, k.format); err != nil {
		return err
	}
	bad := 0
	for _, p := range all {
		if !p.Note {
			bad++
		}
	}
	switch {
	case unreadable(problems, k.file):
		return noLook(fmt.Errorf("cannot look at %s; name the gateway file with -c FILE or FIELDSEAL_CONFIG", configs.Printable(k.file)))
	case bad > 0:
		return &exitError{exitProblems, errors.New(count(bad, "problem"))}
	case notSeen > 0:
		return noLook(fmt.Errorf("no problem, but %s could not be looked at", count(notSeen, "thing")))
	case k.format != formatText:
		return nil
	}
	points := 0
	for i := range config.Machines {
		points += len(config.Machines[i].Points)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s: fine: %s, %s, policy %s revision %d\n",
		configs.Printable(k.file), count(len(config.Machines), "machine"), count(points, "point"), config.Policy.Name, config.Policy.Revision)
	return err
}

// unsigned notes where the notes beside policy and trust file do not say what a
// draft does, whoever signed them.
func unsigned(c *configs.Config) (notes []configs.Problem) {
	for path, next := range map[string]*approval.Approval{
		c.PolicyFile: approval.OfPolicy(&c.Policy, c.Trust.Revision, c.Table()), c.TrustFile: c.Trust.Approval(),
	} {
		b, _ := readIf(path + configs.SignatureSuffix)
		a, err := approval.ParseUnverified(b)
		if err == nil && a.Kind == approval.Policy {
			t, _ := a.Table(c.Gateway)
			a.Tables = []approval.Table{t} // those of others are not looked at
		}
		if err != nil || a.Text() != next.AsSigned(a).Text() {
			notes = append(notes, configs.Problem{
				File: path, Note: true, What: "it is not signed as it stands, with what machines' files say",
				Instead: "raise its revision if it was signed before, and have it signed: fieldseal policy sign",
			})
		}
	}
	slices.SortFunc(notes, func(a, b configs.Problem) int { return strings.Compare(a.File, b.File) })
	return notes
}

// secrets notes the keys and credentials that the files name and that are not
// there, or that it could not look.
func (l *loaded) secrets(file string) (notes []configs.Problem) {
	note := func(file, machine, what, instead string) {
		notes = append(notes, configs.Problem{File: file, Machine: machine, Note: true, What: what, Instead: instead})
	}
	if l.keysErr != nil {
		why := l.keysErr.Error()
		// This is the gateway, and it does not start like this. A credential may be
		// where only the service sees it.
		if l.pinned && !errors.Is(l.keysErr, fs.ErrPermission) && !errors.Is(l.keysErr, keystore.ErrNoCredential) {
			return []configs.Problem{{
				File: file, What: "the gateway's keys cannot be opened: " + why,
				Instead: "put the keystore and its credential back from where they are kept; with both gone for good, keys init makes new ones in an empty state folder, and the trust file has to name them",
			}}
		}
		if _, err := os.Stat(l.state); errors.Is(err, fs.ErrNotExist) {
			why = "the state folder " + configs.Printable(l.state) + " is not there"
		}
		note(file, "", "keys and credentials are not looked at: "+why, "look on the gateway, as the user that runs it: fieldseal check")
		return notes
	}
	now, ending := time.Now(), map[string]keystore.Info{}
	for _, k := range l.keys.List() {
		ending[k.Name] = k
	}
	entry := func(file, machine, name string, look func(string) error) {
		if err := look(name); err != nil {
			instead := "fieldseal keys init adds those of every gateway; fieldseal keys list shows what there is"
			note(file, machine, "keystore:"+name+" is not there: "+err.Error(), instead)
			return
		}
		k := ending[name]
		if ends := k.Ends(now); ends != "" {
			delete(ending, name) // once is enough
			over := !now.Before(k.Until)
			notes = append(notes, configs.Problem{File: file, Machine: machine, Note: !over, Stops: over && machine != "", What: ends, Instead: k.Renew()})
		}
	}
	certificate := func(name string) error { _, err := l.keys.Certificate(name); return err }
	for i := range l.config.Uplinks {
		switch u := &l.config.Uplinks[i]; {
		case u.NATS != nil:
			entry(file, "", u.NATS.Certificate, certificate)
		case u.DTLS != nil:
			entry(file, "", u.DTLS.Certificate, certificate)
		}
	}
	for i := range l.config.Machines {
		m := &l.config.Machines[i]
		credential, what := "", "password"
		switch {
		case m.OPCUA != nil:
			entry(m.File, m.Name, m.OPCUA.Certificate, func(name string) error { _, _, err := l.keys.ClientIdentity(name); return err })
			credential = m.OPCUA.Credential
		case m.CoAP != nil:
			if m.CoAP.Certificate != "" {
				entry(m.File, m.Name, m.CoAP.Certificate, certificate)
			}
			credential, what = m.CoAP.Device.Credential, "device's key"
		}
		if credential == "" {
			continue
		}
		switch _, err := keystore.Password(l.state, credential); {
		case errors.Is(err, keystore.ErrNoCredential):
			note(m.File, m.Name, "credential:"+credential+" is not found", "write the "+what+" into "+configs.Printable(filepath.Join(l.state, "credentials", credential))+
				", mode 0600, or give it as a credential of the service or the container, which this check may not see")
		case err != nil:
			note(m.File, m.Name, "credential:"+credential+" cannot be used: "+err.Error(), "mend it before the start: the machine stays down without it")
		}
	}
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
		return reportAs(w, asFound(problems), formatJSON)
	}
	return reportAs(w, asFound(problems), formatText)
}
