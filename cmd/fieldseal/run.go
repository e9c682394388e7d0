package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/bridge/console"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

func runCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: `Run polls the machines and delivers upstream until SIGTERM or an interrupt; then it commits what it
has read and gives the uplink a few seconds. A second signal skips that: what is not delivered stays in
the outbox and is delivered after the next start.`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error {
			return runGateway(c.Context(), file, c.ErrOrStderr())
		},
	}
	configFlag(c, &file)
	return c
}

func runGateway(ctx context.Context, file string, stderr io.Writer) error {
	logger, err := newLogger(stderr)
	if err != nil {
		return err
	}
	l, err := load(file, nil)
	if err != nil {
		return err
	}
	config, problems, keys := l.config, l.problems, l.keys
	if err := report(stderr, problems, false); err != nil {
		return err
	}
	switch {
	case unreadable(problems, file):
		return noLook(fmt.Errorf("cannot look at %s; name the gateway file with -c FILE or FIELDSEAL_CONFIG", file))
	case config == nil:
		return errors.New("the gateway does not start before the problems above are mended")
	case !l.pinned:
		return notPinned(config.State)
	case l.keysErr != nil:
		return l.keysErr
	}
	g, err := bridge.New(bridge.Options{
		Config: config, Problems: leftOut(problems), Keys: keys, Logger: logger, Version: version(),
		Again: func(notKept error) (*configs.Config, []configs.Problem) {
			l, err := load(file, notKept)
			if err != nil {
				fmt.Fprintln(stderr, "fieldseal:", configs.Plain(err.Error()))
				return nil, nil
			}
			_ = report(stderr, l.problems, false)
			config = l.config
			return l.config, leftOut(l.problems)
		},
	})
	if err != nil {
		return err
	}
	closeListeners, err := serve(g, config, logger)
	if err != nil {
		return errors.Join(err, g.Close())
	}
	defer closeListeners()
	defer (&reloader{g, file, stderr, logger}).start(config.Folders)()
	logger.Info("running", "gateway", config.Gateway, "machines", len(config.Machines), "policy", config.Policy.Name, "revision", config.Policy.Revision)
	return g.Run(ctx, secondSignal(ctx))
}

// leftOut gives the problems of the machines that a start leaves out.
func leftOut(problems []configs.Problem) []configs.Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p configs.Problem) bool { return !p.LeavesOut() })
}

// secondSignal closes what it gives at the first signal after ctx has ended.
func secondSignal(ctx context.Context) <-chan struct{} {
	hurry := make(chan struct{})
	go func() {
		<-ctx.Done()
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		close(hurry)
	}()
	return hurry
}

// unlock opens the gateway's keystore.
func unlock(state, credential string) (*keystore.Store, error) {
	key, _, err := keystore.Credential(state, credential)
	if errors.Is(err, keystore.ErrNoCredential) {
		return nil, fmt.Errorf("%w; a new gateway makes its keys with: fieldseal keys init", err)
	}
	if err != nil {
		return nil, err
	}
	return keystore.Open(state, key)
}

// serve opens the control socket and, where it is configured, the metrics.
func serve(g *bridge.Gateway, config *configs.Config, logger *slog.Logger) (stop func(), err error) {
	control, err := listenUnix(filepath.Join(config.State, controlSocket))
	if err != nil {
		return nil, err
	}
	servers := []*http.Server{startServer(control, console.Control(g.Status), logger)}
	if m := config.Metrics; m.Listen != "" {
		var l net.Listener
		if m.Network == "unix" {
			l, err = listenUnix(m.Listen)
		} else {
			l, err = net.Listen("tcp", m.Listen)
		}
		if err != nil {
			_ = servers[0].Close()
			return nil, fmt.Errorf("cannot serve metrics: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", console.Metrics(g.Status))
		servers = append(servers, startServer(l, mux, logger))
		logger.Info("serving metrics", "address", l.Addr().String())
	}
	return func() {
		for _, s := range servers {
			_ = s.Close()
		}
	}, nil
}

func startServer(l net.Listener, h http.Handler, logger *slog.Logger) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("a listener ended", "address", l.Addr().String(), "error", err)
		}
	}()
	return s
}

// maxSocketPath is what every system's sockaddr_un holds.
const maxSocketPath = 103

// listenUnix listens on a socket that its owner alone can reach. What an earlier
// process left there is removed: the state folder's lock says that it is gone.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("cannot listen on %s: a socket's path has at most %d bytes; choose a folder with a shorter one", path, maxSocketPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("cannot look at %s: %w", path, err)
	case info.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and is no socket; it is not removed, so name another path", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot remove the old socket: %w", err)
		}
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}
