package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/hub"
	"github.com/fieldseal/fieldseal/configs"
)

// serveHub opens what the hub's file asks for: metrics with status and health
// for this machine, and health alone for others.
func serveHub(h *hub.Hub, config *configs.Hub, logger *slog.Logger) (stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}
	begin := func(key, network, address string, handler http.Handler) error {
		if address == "" {
			return nil
		}
		var l net.Listener
		var err error
		if network == "unix" {
			l, err = listenUnix(address)
		} else {
			l, err = net.Listen(network, address)
		}
		if err != nil {
			return fmt.Errorf("cannot serve %s: {listen: %q}: %w; end the other program, or write another address", key, address, err)
		}
		servers = append(servers, startServer(l, handler, logger))
		logger.Info("serving "+key, "address", l.Addr().String())
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", hubMetrics(h.Status))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.Status()) // the client is gone where this fails
	})
	mux.HandleFunc("GET /healthz", hubHealth(h, true))
	if err := begin("metrics", config.Metrics.Network, config.Metrics.Listen, mux); err != nil {
		stop()
		return nil, err
	}
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", hubHealth(h, false))
	if err := begin("health", "tcp", config.Health, open); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// hubHealth answers 200 while the hub can store, else 503; why not only where the
// answer stays on this machine.
func hubHealth(h *hub.Hub, why bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		err := h.Ready()
		switch {
		case err == nil:
			fmt.Fprintln(w, "ready")
		case why:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready:", configs.Plain(err.Error()))
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
		}
	}
}

// askHub asks a running hub, by the address in its file. What else the file says
// is not looked at: the hub may run on with what was right when it began.
func askHub(ctx context.Context, file, path string) (code int, body []byte, err error) {
	metrics, health, problems := configs.HubAddresses(file)
	network, address := metrics.Network, metrics.Listen
	if address == "" && path == "/healthz" {
		network, address = "tcp", health
	}
	if i := slices.IndexFunc(problems, func(p configs.Problem) bool { return p.Fatal }); address == "" && i >= 0 {
		return 0, nil, noLook(fmt.Errorf("the hub's file does not say where the hub answers: %w", problems[i]))
	}
	if address == "" {
		return 0, nil, noLook(fmt.Errorf(`%s has no metrics: write metrics: {listen: "127.0.0.1:9465"}, which the hub answers at`, file))
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://hub"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("no hub answers at %s; is it running? (%w)", address, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, body, err
}

func hubHealthCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Tell whether a running hub can store: exit code 0 or 1, for containers", Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			code, body, err := askHub(c.Context(), *file, "/healthz")
			if err != nil {
				return err
			}
			if code != http.StatusOK {
				return errors.New(strings.TrimSpace(string(body)))
			}
			_, err = fmt.Fprint(c.OutOrStdout(), configs.Plain(string(body)))
			return err
		},
	}
}

func hubStatusCommand(file *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Tell what a running hub is doing", Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			code, body, err := askHub(c.Context(), *file, "/status")
			if err != nil {
				return noLook(err)
			}
			if code != http.StatusOK {
				return noLook(fmt.Errorf("the hub answered %d", code))
			}
			if asJSON {
				_, err := c.OutOrStdout().Write(body)
				return err
			}
			var s hub.Status
			if err := json.Unmarshal(body, &s); err != nil {
				return fmt.Errorf("the hub's answer is not understood: %w", err)
			}
			return printHub(c.OutOrStdout(), &s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

// printHub prints the hub, then a table of the gateways that are connected.
func printHub(out io.Writer, s *hub.Status) error {
	var w bytes.Buffer
	t := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	p := func(key, format string, a ...any) { fmt.Fprintf(t, key+"\t"+format+"\n", a...) }
	p("hub", "%s, up %s", s.Address, time.Since(s.Since).Round(time.Second))
	if s.NotReady != "" {
		p("NOT READY", "%s", s.NotReady)
	}
	p("messages", "%d stored, %d refused", s.Stored, s.Refused)
	p("trust", "%s, %s", count(s.Trust.Authorities, "certificate"), count(s.Trust.Revoked, "revoked serial number"))
	if s.Trust.Stale {
		p("STALE", "a revocation list should have been replaced by %s; it stays in force", s.Trust.NextUpdate.Format(time.RFC3339))
	}
	if s.Trust.Problem != "" {
		p("PROBLEM", "%s; what was in force stays", s.Trust.Problem)
	}
	p("turned away", "%d handshakes failed, %d over the limits; ended: %d by certificate, %d by a newer connection, %d silent, %d no room",
		s.Rejected, s.TurnedAway, s.Distrusted, s.Superseded, s.Reaped, s.Full)
	p("gateways", "%s", count(len(s.Sessions), "connection"))
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Sessions) > 0 {
		fmt.Fprintln(&w)
		t = tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "gateway\tfrom\tup\tstored\trefused\twaiting\tcertificate until")
		for _, g := range s.Sessions {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", g.Gateway, g.Remote, time.Since(g.Since).Round(time.Second),
				g.Stored, g.Refused, g.Waiting, g.Until.Format(time.DateOnly))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, g := range s.Sessions {
			if g.Busy != "" {
				fmt.Fprintf(&w, "%s waits: %s\n", g.Gateway, g.Busy)
			}
		}
	}
	_, err := io.WriteString(out, configs.Plain(w.String()))
	return err
}
