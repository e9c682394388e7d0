package clock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// again is how long a mark that could not be written waits.
const again = time.Minute

// kept is what the file holds.
type kept struct {
	Mark   time.Time `json:"mark,omitzero"`
	Policy int       `json:"policy"`
}

func load(file string) (k kept, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	if err != nil {
		return kept{}, fmt.Errorf("cannot read %s, which holds the highest synchronised time seen: %w; exceptions count again once the clock is synchronised", file, err)
	}
	return k, nil
}

// Save writes the mark where it is that much above the one on disk, or another
// one: flash takes only so many writes. After an error a minute passes before the
// next attempt, but with 0.
func (c *Clock) Save(every time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	rose := c.mark.Sub(c.saved)
	if c.mark.Equal(c.saved) || rose > 0 && rose < every || every > 0 && !c.tried.IsZero() && time.Since(c.tried) < again {
		return nil
	}
	return c.save()
}

// save is called with mu held.
func (c *Clock) save() error {
	c.tried = time.Now()
	b, err := json.Marshal(kept{c.mark.UTC(), c.policy})
	if err == nil {
		err = replace(c.file, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the highest synchronised time seen: %w", err)
	}
	c.saved, c.tried = c.mark, time.Time{}
	return nil
}

// replace writes a file beside the old one, flushes it, and puts it in its
// place.
func replace(file string, b []byte) error {
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
