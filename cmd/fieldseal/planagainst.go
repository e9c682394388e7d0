package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
)

// mostArchive is how much of a revision is unpacked.
const mostArchive = 256 << 20

// loadAgainst reads the configuration to compare with: the gateway file of the
// same name in another folder, or the same file in a git revision.
func loadAgainst(ctx context.Context, file, against string) (*configs.Config, error) {
	if info, err := os.Stat(against); err == nil && info.IsDir() {
		return loadOther(filepath.Join(against, filepath.Base(file)), "", against)
	}
	folder, err := os.MkdirTemp("", "fieldseal-plan-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	within, err := unpackRevision(ctx, folder, filepath.Dir(file), against)
	if err != nil {
		return nil, err
	}
	return loadOther(filepath.Join(folder, within, filepath.Base(file)), folder, against)
}

func loadOther(file, folder, against string) (*configs.Config, error) {
	c, problems := configs.Load(file, configs.Options{Draft: true})
	if c != nil {
		return c, nil
	}
	for _, p := range problems {
		if !p.Fatal {
			continue
		}
		if folder != "" {
			p.File = against + ":" + strings.TrimPrefix(strings.TrimPrefix(p.File, folder), string(filepath.Separator))
		}
		return nil, fmt.Errorf("cannot compare with %s: %s", configs.Printable(against), p.String())
	}
	return nil, fmt.Errorf("cannot compare with %s", configs.Printable(against))
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
	c := gitCommand(ctx, strings.TrimSpace(string(top)), "archive", "--format=tar", strings.TrimSpace(string(commit)))
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := c.Start(); err != nil {
		return "", fmt.Errorf("cannot run git: %w", err)
	}
	unpackErr := untar(into, out)
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err != nil {
		return "", fmt.Errorf("git cannot give revision %s: %s", configs.Printable(revision), strings.TrimSpace(stderr.String()))
	}
	return filepath.FromSlash(strings.TrimSpace(string(prefix))), unpackErr
}

func gitCommand(ctx context.Context, folder string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", append([]string{"-C", folder}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")
	return c
}

func git(ctx context.Context, folder string, args ...string) ([]byte, error) {
	out, err := gitCommand(ctx, folder, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// untar unpacks ordinary files and folders, and never leaves the folder.
func untar(folder string, r io.Reader) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(mostArchive)
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read what git gives: %w", err)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o700)
		case tar.TypeReg:
			if left -= h.Size; left < 0 {
				return fmt.Errorf("the revision has more than %d MiB; keep the configuration in a repository of its own, or name a folder", mostArchive>>20)
			}
			err = unpackFile(root, name, archive)
		}
		if err != nil {
			return fmt.Errorf("cannot unpack the revision: %w", err)
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
