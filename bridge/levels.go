package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// levelsOf joins the policy's levels with the keys of the trust file.
func levelsOf(c *configs.Config) ([]stream.Level, error) {
	var out []stream.Level
	for _, l := range c.Policy.Levels {
		level := stream.Level{Name: l.Name, Send: l.Send, Pad: l.Pad, Hide: l.HideNames}
		var err error
		if level.Readers, err = readersOf(c, l.To); err != nil {
			return nil, fmt.Errorf("level %s: %w", l.Name, err)
		}
		out = append(out, level)
	}
	// Whoever reads some machines only reads no events: they are of all.
	readers, err := readersOf(c, c.Policy.Events)
	readers = slices.DeleteFunc(readers, func(r stream.Reader) bool { return len(r.Only) > 0 })
	if len(readers) > 0 {
		out = append(out, stream.Level{Name: eventLevel, Pad: true, Readers: readers})
	}
	return out, err
}

// readersOf gives the keys of recipients.
func readersOf(c *configs.Config, names []string) (out []stream.Reader, err error) {
	for _, name := range names {
		r, ok := c.Trust.Recipients[name]
		if !ok {
			return nil, fmt.Errorf("recipient %q is not in the trust file", name)
		}
		for _, k := range r.Keys {
			key, err := envelope.ParseRecipient(k.Content)
			if err != nil {
				return nil, fmt.Errorf("recipient %q: %s: %w", name, k.File, err)
			}
			out = append(out, stream.Reader{Key: key, Only: r.Only})
		}
	}
	return out, nil
}

// namesKey is the key under which hidden names are made. It stays what it is as
// long as the secret does.
func namesKey(secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("fieldseal hidden names"))
	return mac.Sum(nil)
}

// readable refuses a machine with points that would be sealed for nobody.
func readable(c *configs.Config, m *configs.Machine, now time.Time) error {
	points := policyPoints(m)
	levels, err := levelsOf(c)
	if err != nil {
		return err
	}
	set := stream.Config{Levels: levels}
	for i, d := range c.Policy.Compile(m.Name, points, point.Encrypted, now).Decisions {
		l, _ := c.Policy.Level(d.Level)
		if l.Send == policy.SendSealed && len(set.Readers(m.Name, d.Level)) == 0 {
			return fmt.Errorf("point %s: nobody may read level %s of this machine; give one of its recipients this machine in `only:` of the trust file", points[i].Name, d.Level)
		}
	}
	return nil
}
