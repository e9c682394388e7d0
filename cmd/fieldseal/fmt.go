package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/configs/layout"
)

// formatting is one run of fmt.
type formatting struct {
	config string
	check  bool
	cmd    *cobra.Command
}

func fmtCommand() *cobra.Command {
	var f formatting
	c := &cobra.Command{
		Use:   "fmt [FILE…|-]",
		Short: "Put files into form: one point on each line",
		Long: `Fmt writes each point, and each field of a structure, on one line, so that a difference shows points. It takes away
blanks that nobody sees. Comments and the order of keys stay, and a point with comments between its lines stays as it
is. It never changes what a file means: where it cannot keep that, the file stays as it is.

Without a FILE it takes the gateway file and the files of machines and templates that it names. Policy and trust file
are signed as they stand, byte for byte: they are put into form only where they are named, and have to be signed again.
With - it reads from the standard input and writes to the standard output.

Exit codes: 0 done, 1 a file cannot be put into form (or, with --check, is not in form), 2 a file cannot be read.`,
		RunE: func(c *cobra.Command, args []string) error {
			f.cmd = c
			if slices.Equal(args, []string{"-"}) {
				return f.stream()
			}
			if len(args) == 0 {
				var err error
				if args, err = f.named(); err != nil {
					return noLook(err)
				}
			}
			return f.files(args)
		},
	}
	configFlag(c, &f.config)
	c.Flags().BoolVar(&f.check, "check", false, "write nothing, and end with 1 where a file is not in form")
	return c
}

// stream puts what comes in into form.
func (f *formatting) stream() error {
	b, err := io.ReadAll(f.cmd.InOrStdin())
	if err != nil {
		return noLook(err)
	}
	_, out, err := form(b)
	switch {
	case err != nil:
		return fmt.Errorf("standard input: %w", err)
	case f.check && !bytes.Equal(b, out):
		return &exitError{exitProblems, errors.New("the standard input is not in form")}
	case f.check:
		return nil
	}
	_, err = f.cmd.OutOrStdout().Write(out)
	return err
}

// files puts files into form.
func (f *formatting) files(files []string) error {
	var failed []error
	changed := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return noLook(err)
		}
		kind, out, err := form(b)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", configs.Printable(file), err))
			continue
		}
		if bytes.Equal(b, out) {
			continue
		}
		changed++
		if _, err := fmt.Fprintln(f.cmd.OutOrStdout(), configs.Printable(file)); err != nil {
			return err
		}
		if f.check {
			continue
		}
		target, err := filepath.EvalSymlinks(file) // a link stays one
		if err != nil {
			return err
		}
		info, err := os.Stat(target)
		if err != nil {
			return err
		}
		if err := replaceFile(target, out, info.Mode().Perm()); err != nil {
			return err
		}
		if _, err := os.Stat(file + configs.SignatureSuffix); err == nil && (kind == "policy" || kind == "trust") {
			fmt.Fprintf(f.cmd.ErrOrStderr(), "fieldseal: the signatures of %s do not fit any more: raise its revision and have it signed: fieldseal policy sign\n", configs.Printable(file))
		}
	}
	switch {
	case len(failed) > 0:
		return errors.Join(failed...)
	case f.check && changed > 0:
		return &exitError{exitProblems, fmt.Errorf("%s not in form; write: fieldseal fmt", count(changed, "file"))}
	}
	return nil
}

var headerLine = regexp.MustCompile(`(?m)^fieldseal: *"?([a-z]+)/v[0-9]+`)

// form gives the kind of a file, and the file in form.
func form(b []byte) (kind string, out []byte, err error) {
	m := headerLine.FindSubmatch(b)
	if m == nil {
		return "", nil, errors.New("it is none of Fieldseal's files: these say what they are, such as fieldseal: machine/v1")
	}
	out, err = layout.Format(b)
	return string(m[1]), out, err
}

// named gives the gateway file, and those of machines and templates that it
// names.
func (f *formatting) named() ([]string, error) {
	if _, err := os.Stat(f.config); err != nil {
		return nil, fmt.Errorf("%w; name the gateway file with -c FILE or FIELDSEAL_CONFIG, or the files to put into form", err)
	}
	files := []string{f.config}
	var p places
	for _, key := range []string{"machines", "templates"} {
		n := value(p.root(f.config), key)
		if n == nil {
			continue
		}
		pattern := n.Value
		if !filepath.IsAbs(pattern) { // only the pattern's own stars count, not the folder's
			folder := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(filepath.Dir(f.config))
			pattern = filepath.Join(folder, pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no file pattern", configs.Printable(f.config), n.Value)
		}
		files = append(files, slices.DeleteFunc(found, func(s string) bool { return strings.HasPrefix(filepath.Base(s), ".") })...)
	}
	return files, nil
}
