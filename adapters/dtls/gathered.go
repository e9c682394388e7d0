package dtls

import (
	"net"
	"time"
)

// gatherTime is how far apart packets of SCTP go out at a hub. All it sends is
// acknowledgements and words. pion acknowledges every second packet, if it may,
// and each of those costs both ends as much as half a message; those that wait
// become one.
const gatherTime = 400 * time.Microsecond

// gathered is a hub's end of a connection. SCTP writes to it from one goroutine,
// and makes the next packet after that.
type gathered struct {
	net.Conn
	last time.Time
}

// Write waits until some time has gone by since the last packet.
func (g *gathered) Write(b []byte) (int, error) {
	if early := gatherTime - time.Since(g.last); early > 0 {
		<-time.After(early) // nothing that ends a connection waits for it to be shorter
	}
	g.last = time.Now()
	return g.Conn.Write(b)
}
