package clock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/fieldseal/fieldseal/bridge/durable"
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
// next attempt. With 0 it writes what the clock says now, at once.
func (c *Clock) Save(every time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if every == 0 {
		c.asked = time.Time{} // the mark is from when the kernel was asked
		c.read()
	}
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
		err = durable.Replace(c.file, 0o600, b, []byte("\n"))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the highest synchronised time seen: %w", err)
	}
	c.saved, c.tried = c.mark, time.Time{}
	return nil
}
