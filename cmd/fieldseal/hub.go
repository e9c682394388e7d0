package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/hub"
	"github.com/fieldseal/fieldseal/configs"
)

func hubCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "hub",
		Short: "Receive from gateways over DTLS and store in a JetStream stream",
		Long: `Hub listens for gateways with a dtls: uplink, lets each publish under the name that is in its certificate,
and tells it how far its messages are stored. It keeps nothing: any number may run side by side.
SIGHUP reads certificates, keys, authorities and revocation lists again; SIGTERM or an interrupt ends it,
and gateways go on with another hub, or when this one is back.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return runHub(c.Context(), file, c.ErrOrStderr())
		},
	}
	standard := os.Getenv("FIELDSEAL_HUB_CONFIG")
	if standard == "" {
		standard = "/etc/fieldseal/hub.yaml"
	}
	c.PersistentFlags().StringVarP(&file, "config", "c", standard, "the hub's file (FIELDSEAL_HUB_CONFIG)")
	c.AddCommand(hubCheckCommand(&file), hubStatusCommand(&file), hubHealthCommand(&file))
	return c
}

func runHub(ctx context.Context, file string, stderr io.Writer) error {
	logger, err := newLogger(stderr)
	if err != nil {
		return err
	}
	config, err := loadHub(file, stderr)
	if err != nil {
		return err
	}
	h, err := hub.New(hubConfig(config, logger))
	if err != nil {
		return hubNotBegun(file, config, err)
	}
	closeListeners, err := serveHub(h, config, logger)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", file, err), h.Close())
	}
	defer closeListeners()
	defer renewOnHangup(h, file, config, stderr, logger)()
	logger.Info("running", "listen", h.Addr().String(), "stream", config.NATS.Stream, "prefix", config.NATS.Prefix, "version", version())
	return h.Run(ctx)
}

func hubOptions() configs.HubOptions { return configs.HubOptions{Authority: hub.CheckAuthority} }

// loadHub reads the hub's file and prints its problems.
func loadHub(file string, stderr io.Writer) (*configs.Hub, error) {
	config, problems := configs.LoadHub(file, hubOptions())
	if err := report(stderr, problems, false); err != nil {
		return nil, err
	}
	switch {
	case unreadable(problems, file):
		return nil, noLook(fmt.Errorf("cannot look at %s; name the hub's file with -c FILE or FIELDSEAL_HUB_CONFIG", file))
	case config == nil:
		return nil, errors.New("the hub does not start before the problems above are mended")
	}
	return config, nil
}

// hubNotBegun says what to do where a file that is right could not be followed.
func hubNotBegun(file string, config *configs.Hub, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: the UDP port of listen: %q is taken: %w; end the other program (ss -ulpn shows it), or write another port", file, config.Listen, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine does not have the address of listen: %q: %w; write 0.0.0.0 for all that it has", file, config.Listen, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// hubConfig is what the file says, in the words of the hub.
func hubConfig(c *configs.Hub, logger *slog.Logger) hub.Config {
	return hub.Config{
		Listen: c.Listen, Certificate: c.Certificate, Authorities: c.Trust, Revoked: c.Revoked, Logger: logger,
		NATS: hubNATS(c, logger),
		Limits: hub.Limits{
			ListenLimits: dtls.ListenLimits{
				HalfOpen: c.Limits.HalfOpen, Handshakes: c.Limits.Handshakes, HandshakesPerHost: c.Limits.HandshakesPerHost,
			},
			Sessions: c.Limits.Connections, SessionsPerGateway: c.Limits.ConnectionsPerGateway,
			MessagesPerSecond: c.Limits.MessagesPerSecond, BytesPerSecond: c.Limits.BytesPerSecond, Idle: c.Limits.Idle,
		},
	}
}

func hubNATS(c *configs.Hub, logger *slog.Logger) nats.Config {
	return nats.Config{
		Servers: c.NATS.Servers, Stream: c.NATS.Stream, Prefix: c.NATS.Prefix, Logger: logger,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.NATS.Roots, Certificates: []tls.Certificate{c.NATS.Certificate}},
	}
}

// renewOnHangup takes the files that the hub's file names into use again at each
// SIGHUP. What is wrong with one of them changes nothing.
func renewOnHangup(h *hub.Hub, file string, began *configs.Hub, stderr io.Writer, logger *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups:
				renewHub(h, file, began, stderr, logger)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
		<-ended
	}
}

func renewHub(h *hub.Hub, file string, began *configs.Hub, stderr io.Writer, logger *slog.Logger) {
	config, problems := configs.LoadHub(file, hubOptions())
	_ = report(stderr, problems, false)
	if config == nil {
		logger.Error("SIGHUP changes nothing before the problems above are mended; what was in use stays")
		return
	}
	if err := h.Renew(hub.Renewal{
		Certificate: config.Certificate, NATS: hubNATS(config, logger).TLS, Authorities: config.Trust, Revoked: config.Revoked,
	}); err != nil {
		logger.Error("SIGHUP changes nothing; what was in use stays", "error", err)
		return
	}
	logger.Info("certificates are read again", "until", config.Certificate.Leaf.NotAfter, "at_nats_until", config.NATS.Certificate.Leaf.NotAfter)
	if !reflect.DeepEqual(settings(began), settings(config)) {
		logger.Warn("what else has changed in the hub's file has an effect at the next start only: SIGHUP reads certificates, keys, authorities and revocation lists")
	}
}

// settings is what a file says itself, without what a SIGHUP takes into use: what
// stands in the files that it names, and the names of those of trust.
func settings(c *configs.Hub) configs.Hub {
	s := *c
	s.Trust, s.Revoked = "", nil
	s.Certificate, s.NATS.Certificate, s.NATS.Roots = tls.Certificate{}, tls.Certificate{}, nil
	return s
}

// lookAtHubStream tells whether the stream can be used, and what of it would lose
// what gateways have freed. How long they keep it themselves is not known here.
func lookAtHubStream(ctx context.Context, file string, c nats.Config) (problems []configs.Problem) {
	if err := hub.Look(ctx, c); err != nil {
		return []configs.Problem{{File: file, What: err.Error(), Fatal: true}}
	}
	c.Gateway = "*" // it publishes for all of them
	found, err := nats.Inspect(ctx, c, nats.Expect{})
	if err != nil {
		return []configs.Problem{{File: file, What: err.Error(), Fatal: true}}
	}
	for _, f := range found {
		problems = append(problems, configs.Problem{File: file, What: f.What, Instead: f.Instead, Note: f.Note, Fatal: !f.Note})
	}
	return problems
}

func hubCheckCommand(file *string) *cobra.Command {
	var asJSON, online bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the hub's file and what it names",
		Long: `Check reads the hub's file, certificates, keys, authorities and revocation lists. With --online it also looks
whether the NATS servers let the hub in and have the stream, and whether that keeps what it is given.
Exit codes: 0 fine (there may be notes), 1 problems, 2 the file could not be read.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			config, problems := configs.LoadHub(*file, hubOptions())
			if online && config != nil {
				found := lookAtHubStream(c.Context(), *file, hubNATS(config, nil))
				if problems = append(problems, found...); slices.ContainsFunc(found, func(p configs.Problem) bool { return !p.Note }) {
					config = nil
				}
			}
			if err := report(c.OutOrStdout(), problems, asJSON); err != nil {
				return err
			}
			switch {
			case config == nil && len(problems) == 1 && unreadable(problems, *file) && !online:
				return noLook(fmt.Errorf("cannot look at %s; name the hub's file with -c FILE or FIELDSEAL_HUB_CONFIG", configs.Printable(*file)))
			case config == nil:
				return &exitError{exitProblems, errors.New("the hub cannot do its work like this")}
			case asJSON:
				return nil
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: fine: %s, stream %s, prefix %s\n", configs.Printable(*file), config.Listen, config.NATS.Stream, config.NATS.Prefix)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as a JSON array")
	c.Flags().BoolVar(&online, "online", false, "look at the NATS servers and the stream too")
	return c
}
