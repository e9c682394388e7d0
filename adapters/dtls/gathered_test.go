package dtls

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// counted is a connection that takes everything at once.
type counted struct {
	net.Conn
	at []time.Time
}

func (c *counted) Write(b []byte) (int, error) {
	c.at = append(c.at, time.Now())
	return len(b), nil
}

// The first packet after a pause goes at once; those behind it wait for each
// other.
func TestGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{}
		g := &gathered{Conn: c}
		began := time.Now()
		for range 3 {
			n, err := g.Write([]byte("sack"))
			require.NoError(t, err)
			require.Equal(t, 4, n)
		}
		<-time.After(time.Second)
		_, err := g.Write(nil)
		require.NoError(t, err)
		var after []time.Duration
		for _, at := range c.at {
			after = append(after, at.Sub(began))
		}
		require.Equal(t, []time.Duration{0, gatherTime, 2 * gatherTime, 2*gatherTime + time.Second}, after)
	})
}
