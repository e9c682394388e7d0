package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/status"
)

// controlSocket is where a running gateway answers, in its state folder.
const controlSocket = "control.sock"

func statusCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Tell what a running gateway is doing", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			where, err := basics(c, file)
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

func printStatus(w io.Writer, s *status.Gateway) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(format string, a ...any) { fmt.Fprintf(t, format+"\n", a...) }
	p("%s\tversion %s, start %d, up %s", s.Gateway, s.Version, s.Start, s.Time.Sub(s.Started).Round(time.Second))
	p("policy\t%s revision %d", s.Policy.Name, s.Policy.Revision)
	for _, u := range s.Uplinks {
		p("uplink %s\t%s, %d messages stored upstream%s%s", u.Name, u.State, u.Messages, ago(", last %s ago", s.Time, u.LastStored), reason(u.Error))
	}
	p("outbox\t%d messages wait (%s)%s, %d given up", s.Outbox.Messages, bytesText(s.Outbox.Bytes), ago(", oldest %s", s.Time, s.Outbox.Oldest), s.Outbox.Lost)
	if s.Commits.Stalled != "" {
		p("STALLED\tmachines are not polled: %s", s.Commits.Stalled)
	}
	for _, e := range s.Exceptions {
		state := "until " + e.Until.Add(-time.Second).Format(time.DateOnly)
		if e.Over {
			state = "PAST ITS DAY, its points stop"
		}
		p("exception\t%s (%s): %s; %s", e.Allow, e.Where, e.Why, state)
	}
	for _, l := range s.LeftOut {
		p("LEFT OUT\t%s: %s", l.Machine, l.Problem)
	}
	p("")
	p("machine\tstate\tconnection\tclear\tsealed\tpassthrough\twithheld\tsamples\tbad\tlast")
	for _, m := range s.Machines {
		p("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s", m.Name, m.State, m.Security, m.Points["clear"], m.Points["sealed"],
			m.Points["passthrough"], m.Points["withheld"], m.Samples.Taken, m.Samples.Bad, ago("%s ago", s.Time, m.Last))
		if m.Error != "" {
			p("  %s", m.Error)
		}
		for _, h := range m.Withheld {
			p("  %s does not leave: %s (%s)", h.Point, h.Why, h.Rule)
		}
		for _, u := range m.Unread {
			p("  %s is not read: %s", u.Point, u.Status)
		}
	}
	return t.Flush()
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
