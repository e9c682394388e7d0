package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
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
	understood := false
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	root.AddCommand(runCommand(), checkCommand(), planCommand(), fmtCommand(), schemaCommand(), policyCommand(), keysCommand(), openCommand(), hubCommand(), statusCommand(), versionCommand())

	c, err := unknownCommand(root, args)
	if err == nil {
		c, err = root.ExecuteContextC(ctx)
	}
	if err == nil {
		return exitFine
	}
	if !understood {
		err = noLook(fmt.Errorf("%w; see: %s --help", err, c.CommandPath()))
	}
	if text := configs.Plain(err.Error()); text != "" {
		if errors.Is(err, fs.ErrPermission) {
			text += fmt.Sprintf("; this runs as uid %d", os.Geteuid())
		}
		fmt.Fprintln(stderr, "fieldseal: "+text)
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitProblems
}

// plainWriter lets nothing through that a terminal obeys.
type plainWriter struct{ w io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, configs.Plain(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// unknownCommand refuses a word that is no command, at any depth, and suggests
// the nearest one.
func unknownCommand(root *cobra.Command, args []string) (*cobra.Command, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "__") { // what shells ask for completion
		return root, nil
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	c, rest, err := root.Find(args)
	if err != nil { // only of the root
		c, rest = root, args
	}
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		rest = rest[1:]
	}
	if !c.HasSubCommands() || len(rest) == 0 || c.Runnable() {
		return c, nil
	}
	err = fmt.Errorf("unknown command %q", words(c)+rest[0])
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(rest[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, words(c)+strings.Join(near, " or "))
	}
	return c, err
}

// words are what follows the program's name to call a command, and a blank.
func words(c *cobra.Command) string {
	_, after, ok := strings.Cut(c.CommandPath(), " ")
	if !ok {
		return ""
	}
	return after + " "
}

// takes is for a command with these arguments.
func takes(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		default:
			return fmt.Errorf("%sdoes not take %q", words(c), args[len(names)])
		}
	}
}

// configFlag adds -c, with its default from FIELDSEAL_CONFIG.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", standardConfig(), "the gateway file (FIELDSEAL_CONFIG)")
}

func standardConfig() string {
	if s := os.Getenv("FIELDSEAL_CONFIG"); s != "" {
		return s
	}
	return "/etc/fieldseal/gateway.yaml"
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
		Use: "version", Short: "Print the version", Args: takes(),
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
