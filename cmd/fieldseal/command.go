package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFine     = 0
	exitProblems = 1
	exitNoLook   = 2 // misunderstood, or could not look
)

// exitError carries an exit code; its text, where it has one, is for stderr.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// noLook marks an error as "could not look", as opposed to a problem found.
func noLook(err error) error { return &exitError{exitNoLook, err} }

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "fieldseal",
		Short:         "Seal plant data at the boundary, for the people who may read it",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return noLook(fmt.Errorf("%w; see: %s --help", err, c.CommandPath()))
	})
	root.AddCommand(runCommand(), checkCommand(), keysCommand(), openCommand(), statusCommand(), versionCommand())

	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "fieldseal: "+text)
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitProblems
}

// configFlag adds -c, with its default from FIELDSEAL_CONFIG.
func configFlag(c *cobra.Command, file *string) {
	standard := os.Getenv("FIELDSEAL_CONFIG")
	if standard == "" {
		standard = "/etc/fieldseal/gateway.yaml"
	}
	c.Flags().StringVarP(file, "config", "c", standard, "the gateway file (FIELDSEAL_CONFIG)")
}

// newLogger logs for people, at the level of FIELDSEAL_LOG_LEVEL.
func newLogger(w io.Writer) (*slog.Logger, error) {
	level := slog.LevelInfo
	if s := os.Getenv("FIELDSEAL_LOG_LEVEL"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, noLook(fmt.Errorf("FIELDSEAL_LOG_LEVEL is %q; write debug, info, warn or error", s))
		}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "fieldseal "+version())
			return err
		},
	}
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
