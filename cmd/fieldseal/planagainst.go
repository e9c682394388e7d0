package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/configs"
)

// mostArchive is how much of a revision is unpacked.
const mostArchive = 256 << 20

// planAgainst gives the plan to compare with: of the gateway file of the same name
// in another folder, or of the same file in a git revision. wrong is what it
// leaves out.
func planAgainst(ctx context.Context, file, against string, now time.Time, match func(string) bool) (p *plan, wrong []configs.Problem, err error) {
	if info, err := os.Stat(against); err == nil && info.IsDir() {
		return planOf(filepath.Join(against, filepath.Base(file)), "", against, now, match)
	}
	folder, err := os.MkdirTemp("", "fieldseal-plan-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	within, err := unpackRevision(ctx, folder, filepath.Dir(file), against)
	if err != nil {
		return nil, nil, err
	}
	return planOf(filepath.Join(folder, within, filepath.Base(file)), folder, against, now, match)
}

func planOf(file, folder, against string, now time.Time, match func(string) bool) (*plan, []configs.Problem, error) {
	c, problems := configs.Load(file, configs.Options{Draft: true})
	var wrong []configs.Problem
	for _, p := range problems {
		if p.Note || p.Stops {
			continue
		}
		if folder != "" {
			p.File = against + ":" + strings.TrimPrefix(strings.TrimPrefix(p.File, folder), string(filepath.Separator))
		}
		if p.Fatal {
			return nil, nil, fmt.Errorf("cannot compare with %s: %s", configs.Printable(against), p.String())
		}
		wrong = append(wrong, p)
	}
	if c == nil {
		return nil, nil, fmt.Errorf("cannot compare with %s", configs.Printable(against))
	}
	p := newPlan(c, filepath.Dir(file), true, now, match)
	p.leftOut = len(wrong) > 0
	return p, wrong, nil
}

// unpackRevision lays the files of a git revision into a folder, and tells where
// in it the configuration's folder is.
func unpackRevision(ctx context.Context, into, folder, revision string) (within string, err error) {
	missing := fmt.Errorf("%s is no folder", configs.Printable(revision))
	if _, err := exec.LookPath("git"); err != nil {
		return "", fmt.Errorf("%w, and there is no git here that could know a revision of that name; name a folder with the other configuration", missing)
	}
	prefix, err := git(ctx, folder, "rev-parse", "--show-prefix")
	if err != nil {
		return "", fmt.Errorf("%w, and %s is in no git repository that could have a revision of that name: %w", missing, configs.Printable(folder), err)
	}
	commit, err := git(ctx, folder, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%w, and the git repository of %s knows no revision of that name", missing, configs.Printable(folder))
	}
	top, err := git(ctx, folder, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	// Not git archive, which leaves out, and rewrites, what the attributes of that
	// very revision say.
	folder = strings.TrimSpace(string(top))
	tree, err := git(ctx, folder, "ls-tree", "-r", "-z", "--full-tree", strings.TrimSpace(string(commit)))
	if err != nil {
		return "", err
	}
	if err := unpackTree(ctx, into, folder, string(tree)); err != nil {
		return "", fmt.Errorf("cannot unpack revision %s: %w", configs.Printable(revision), err)
	}
	return filepath.FromSlash(strings.TrimRight(string(prefix), "\n")), nil
}

func gitCommand(ctx context.Context, folder string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", append([]string{"-C", folder}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_TERMINAL_PROMPT=0")
	return c
}

func git(ctx context.Context, folder string, args ...string) ([]byte, error) {
	out, err := gitCommand(ctx, folder, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// unpackTree unpacks the ordinary files of what git ls-tree -r -z listed, and never
// leaves the folder.
func unpackTree(ctx context.Context, into, repository, tree string) error {
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close()
	var names []string
	var wanted strings.Builder
	for entry := range strings.SplitSeq(tree, "\x00") { // MODE TYPE OBJECT<tab>PATH
		about, name, _ := strings.Cut(entry, "\t")
		if words := strings.Fields(about); len(words) == 3 && words[1] == "blob" && strings.HasPrefix(words[0], "100") {
			names = append(names, name)
			wanted.WriteString(words[2] + "\n")
		}
	}
	c := gitCommand(ctx, repository, "cat-file", "--batch")
	var stderr bytes.Buffer
	c.Stdin, c.Stderr = strings.NewReader(wanted.String()), &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot run git: %w", err)
	}
	unpackErr := unpackObjects(root, names, bufio.NewReader(out))
	if unpackErr != nil {
		_ = c.Process.Kill() // it would write on
	}
	if err := c.Wait(); err != nil && unpackErr == nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return unpackErr
}

// unpackObjects writes what git cat-file --batch gives into files of these names.
func unpackObjects(root *os.Root, names []string, out *bufio.Reader) error {
	left := int64(mostArchive)
	for _, name := range names {
		about, err := out.ReadString('\n')
		if err != nil {
			return fmt.Errorf("cannot read what git gives: %w", err)
		}
		words := strings.Fields(about) // OBJECT TYPE SIZE, or OBJECT missing
		if len(words) != 3 || words[1] != "blob" {
			return fmt.Errorf("git does not have all of it here: %s", configs.Printable(name))
		}
		size, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return fmt.Errorf("cannot read what git gives: %w", err)
		}
		if left -= size; left < 0 {
			return fmt.Errorf("it has more than %d MiB; keep the configuration in a repository of its own, or name a folder", mostArchive>>20)
		}
		if err := unpackFile(root, path.Clean(name), size, out); err != nil {
			return err
		}
		if _, err := out.Discard(1); err != nil {
			return fmt.Errorf("cannot read what git gives: %w", err)
		}
	}
	return nil
}

func unpackFile(root *os.Root, name string, size int64, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, size)
	return errors.Join(err, f.Close())
}
