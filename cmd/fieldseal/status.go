package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
)

// controlSocket is where a running gateway answers, in its state folder.
const controlSocket = "control.sock"

func statusCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Tell what a running gateway is doing", Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			where, err := place(c, file)
			if err != nil {
				return err
			}
			b, err := askGateway(c.Context(), where.State, "/status")
			if err != nil {
				return noLook(err)
			}
			if asJSON {
				_, err := c.OutOrStdout().Write(b)
				return err
			}
			var s status.Gateway
			if err := json.Unmarshal(b, &s); err != nil {
				return fmt.Errorf("the gateway's answer is not understood: %w", err)
			}
			return printStatus(c.OutOrStdout(), &s)
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func askGateway(ctx context.Context, state, path string) ([]byte, error) {
	socket := filepath.Join(state, controlSocket)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no gateway answers at %s; is it running, and are you its user? (%w)", socket, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the gateway answered %s", resp.Status)
	}
	return b, err
}

// printStatus prints what is going on: the gateway, then a table of machines,
// then what is wrong with some of them.
func printStatus(out io.Writer, s *status.Gateway) error {
	var w bytes.Buffer
	if err := printAll(&w, s); err != nil {
		return err
	}
	_, err := io.WriteString(out, configs.Plain(w.String()))
	return err
}

func printAll(w io.Writer, s *status.Gateway) error {
	if err := printGateway(w, s); err != nil {
		return err
	}
	if len(s.Machines) > 0 {
		fmt.Fprintln(w)
		if err := printMachines(w, s); err != nil {
			return err
		}
	}
	return printTrouble(w, s)
}

func printGateway(w io.Writer, s *status.Gateway) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(key, format string, a ...any) { fmt.Fprintf(t, key+"\t"+format+"\n", a...) }
	p("gateway", "%s, version %s, start %d, up %s", s.Gateway, s.Version, s.Start, s.Time.Sub(s.Started).Round(time.Second))
	p("policy", "%s, revision %d%s", s.Policy.Name, s.Policy.Revision, approvedBy(s.Policy.ApprovedBy))
	p("trust", "revision %d%s", s.Trust.Revision, approvedBy(s.Trust.ApprovedBy))
	if s.Clock.Why != "" {
		p("CLOCK", "%s: %s", s.Clock.How, s.Clock.Why)
	}
	for _, r := range s.Refused {
		p("REFUSED", "%s: %s", r.File, r.Problem)
	}
	switch r := s.Reload; {
	case r.Time.IsZero():
	case r.Refused != "":
		p("NOT RELOADED", "%s ago, and the running configuration stays: %s", s.Time.Sub(r.Time).Round(time.Second), r.Refused)
	case len(r.Changes) > 0:
		p("reloaded", "%s ago: %s", s.Time.Sub(r.Time).Round(time.Second), strings.Join(r.Changes, "; "))
	}
	for _, u := range s.Uplinks {
		p("uplink", "%s: %s, %s stored upstream%s%s", u.Name, u.State, count(u.Messages, "message"), ago(", last %s ago", s.Time, u.LastStored), reason(u.Error))
	}
	waiting, oldest := "nothing waits", ""
	if s.Outbox.Messages > 0 {
		waiting = fmt.Sprintf("waiting: %s, %s", count(s.Outbox.Messages, "message"), bytesText(s.Outbox.Bytes))
		oldest = ago(", oldest %s ago", s.Time, s.Outbox.Oldest)
	}
	p("outbox", "%s%s; %d given up", waiting, oldest, s.Outbox.Lost)
	if s.Commits.Stalled != "" {
		p("STALLED", "nothing is accepted, and machines are not polled once 4 MiB wait in memory, or at once with stop-polling: %s", s.Commits.Stalled)
	}
	for _, e := range s.Exceptions {
		state := "until " + e.Until.Add(-time.Second).Format(time.DateOnly)
		if e.Over && !s.Clock.Trusted {
			state += ", DOES NOT COUNT while the clock is not trusted"
		} else if e.Over {
			state = "PAST ITS DAY, its points stop"
		}
		p("exception", "%s (%s), %s: %s", e.Allow, e.Where, state, e.Why)
	}
	for _, l := range s.LeftOut {
		p("LEFT OUT", "%s: %s", l.Machine, l.Problem)
	}
	return t.Flush()
}

func printMachines(w io.Writer, s *status.Gateway) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "machine\tstate\tconnection\tclear\tsealed\tpassthrough\twithheld\tsamples\tbad\tlast")
	for _, m := range s.Machines {
		security := m.Security
		if m.State != "up" {
			security = "-" // nothing is negotiated
		}
		last := ago("%s ago", s.Time, m.Last)
		if last == "" {
			last = "never"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", m.Name, m.State, security, m.Points["clear"], m.Points["sealed"],
			m.Points["passthrough"], m.Points["withheld"], m.Samples.Taken, m.Samples.Bad, last)
	}
	return t.Flush()
}

// printTrouble says why machines are down, and points do not leave or are not
// read: one line for each reason.
func printTrouble(w io.Writer, s *status.Gateway) error {
	var lines []string
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
	for _, u := range s.Unapproved {
		add("%s: %s as points that nobody labelled: not approved: %s", u.Machine, group{u.Why, u.Points}.points("leaves", "leave"), u.Why)
	}
	for _, m := range s.Machines {
		switch {
		case m.Error != "" && m.State == "up":
			add("%s: %s", m.Name, m.Error)
		case m.Error != "":
			add("%s is down%s: %s", m.Name, ago(" for %s", s.Time, m.Since), m.Error)
		}
		if f := m.Field; f.LeftOut+f.Missed > 0 {
			add("%s: since its source began %d samples or polls were left out, and %d values or messages were lost on the way", m.Name, f.LeftOut, f.Missed)
		}
		if f := m.Field; f.Deaths > 0 {
			add("%s: its worker process died %d times%s", m.Name, f.Deaths, map[bool]string{true: "; it has one of its own now"}[f.Alone])
		}
		withheld, unread := grouped{}, grouped{}
		for _, h := range m.Withheld {
			withheld.add(h.Why, h.Point)
		}
		for _, u := range m.Unread {
			unread.add(u.Status, u.Point)
		}
		for _, r := range withheld {
			add("%s: %s not leave: %s", m.Name, r.points("does", "do"), r.why)
		}
		for _, r := range unread {
			add("%s: %s not read: %s", m.Name, r.points("is", "are"), r.why)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprint(w, "\n"+strings.Join(lines, "\n")+"\n")
	return err
}

// grouped are points by what is the matter with them.
type grouped []group

type group struct {
	why   string
	names []string
}

func (g *grouped) add(why, name string) {
	for i := range *g {
		if (*g)[i].why == why {
			(*g)[i].names = append((*g)[i].names, name)
			return
		}
	}
	*g = append(*g, group{why, []string{name}})
}

func (g group) points(one, many string) string {
	if len(g.names) == 1 {
		return g.names[0] + " " + one
	}
	return strings.Join(g.names, ", ") + " " + many
}

func approvedBy(names []string) string {
	if len(names) == 0 {
		return ", accepted earlier"
	}
	return ", approved by " + list(names)
}

func ago(format string, now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf(format, now.Sub(t).Round(100*time.Millisecond))
}

func reason(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func bytesText(n uint64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
