package files

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// Damage is a part of a file that could not be read.
type Damage struct {
	File   string
	Offset int64 // the first byte that was left out
	Left   int64 // how many were
	Err    error
}

// Error gives file, place and reason.
func (d *Damage) Error() string {
	if d.Left == 0 {
		return fmt.Sprintf("%s: byte %d: %v", d.File, d.Offset, d.Err)
	}
	return fmt.Sprintf("%s: byte %d: %v; %d bytes were left out", d.File, d.Offset, d.Err, d.Left)
}

// maxDamages is how many damages of one file are told one by one.
const maxDamages = 100

// Unwrap gives the reason.
func (d *Damage) Unwrap() error { return d.Err }

// stopped is an error that ends reading: fn's or ctx's.
type stopped struct{ error }

func (s *stopped) Unwrap() error { return s.error }

// Read calls fn with each message of the files and folders, in order: those of a
// folder by gateway and number, with the one that is being written up to its last
// whole message. Messages own their bytes, and prove nothing: that is for
// envelope.Reader.
//
// What is damaged is left out: it goes on with the next whole item whose checksum
// is right, which may be in the next file, and returns in the end, joined, a
// *Damage for each. Nothing is read behind the header of a later version. An error of fn or ctx ends it at once and is returned alone.
func Read(ctx context.Context, paths []string, fn func(envelope.Message) error) error {
	var all []error
	for _, path := range paths {
		files, err := segmentsOf(path)
		if err != nil {
			all = append(all, err)
			continue
		}
		for _, file := range files {
			err := readFile(ctx, file, fn)
			var end *stopped
			if errors.As(err, &end) {
				return end.error
			}
			if err != nil {
				all = append(all, err)
			}
		}
	}
	return errors.Join(all...)
}

// ReadFrom is Read of one input that has segments one after another, such as
// standard input. name stands for it in errors.
func ReadFrom(ctx context.Context, name string, r io.Reader, fn func(envelope.Message) error) error {
	err := readSegments(ctx, name, r, false, fn)
	var end *stopped
	if errors.As(err, &end) {
		return end.error
	}
	return err
}

// segmentsOf gives the segments of a folder in order, and a file as it is.
func segmentsOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(path, suffix+part) {
		return []string{path}, nil // readFile looks whether it is finished by now
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	type segment struct {
		name, gateway string
		number        uint64
	}
	var found []segment
	for _, e := range entries {
		if gateway, number, _, ok := parseName(e.Name()); ok && !e.IsDir() {
			found = append(found, segment{e.Name(), gateway, number})
		}
	}
	slices.SortFunc(found, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.gateway, b.gateway), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range found {
		out = append(out, filepath.Join(path, s.name))
	}
	return out, nil
}

// readFile reads one segment. One that was being written may have been finished
// meanwhile.
func readFile(ctx context.Context, path string, fn func(envelope.Message) error) error {
	f, err := os.Open(path)
	finished, live := strings.CutSuffix(path, suffix+part)
	if live && errors.Is(err, os.ErrNotExist) {
		live, path = false, finished+suffix
		f, err = os.Open(path)
	}
	if err != nil {
		return fmt.Errorf("cannot read: %w", err)
	}
	defer f.Close()
	return readSegments(ctx, path, f, live, fn)
}

// readSegments reads segments one after another. live: what is not whole at the
// end is not there yet.
func readSegments(ctx context.Context, name string, r io.Reader, live bool, fn func(envelope.Message) error) error {
	s := newScan(r)
	var all []error
	headed, more := false, 0
	for {
		if err := ctx.Err(); err != nil {
			return &stopped{err}
		}
		item, at, err := s.next()
		skips := err != nil
		switch {
		case errors.Is(err, io.EOF) && (headed || live):
			if more > 0 {
				all = append(all, fmt.Errorf("%s: %d more places are damaged", name, more))
			}
			return errors.Join(all...)
		case errors.Is(err, io.EOF):
			return &Damage{File: name, Offset: at, Err: errors.New("is empty")}
		case errors.Is(err, errMore) && live && !s.skip():
			continue
		case err == nil && isHeader(item):
			if _, _, err = parseHeader(item); errors.Is(err, errLater) {
				return errors.Join(append(all, &Damage{File: name, Offset: at, Err: fmt.Errorf("%w, and nothing behind it was read", err)})...)
			}
		case err == nil:
			var m envelope.Message
			if m, err = envelope.ParseMessage(item); err == nil {
				m.Body = bytes.Clone(m.Body)
				if err := fn(m); err != nil {
					return &stopped{err}
				}
			}
		}
		headed = true
		if err == nil {
			continue
		}
		if s.end != nil && !errors.Is(s.end, io.EOF) && s.from == len(s.buf) {
			return errors.Join(append(all, &Damage{File: name, Offset: at, Err: err})...)
		}
		if skips && s.offset == at {
			s.skip()
		}
		if len(all) >= maxDamages {
			more++
			continue
		}
		all = append(all, &Damage{File: name, Offset: at, Left: s.offset - at, Err: err})
	}
}
