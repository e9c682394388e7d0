package modbus

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/simonvetter/modbus"
)

const dialTimeout = 5 * time.Second

// rtuClient is RTU frames over TCP. It is our own and not the library's
// rtuovertcp, which takes whatever comes first as the answer: after one late
// answer each request gets the value of the one before, without an error. There
// is no way to look at its connection, or to break off its waits.
type rtuClient struct {
	*line
	conn    net.Conn
	release func() bool
	buf     []byte // received, and not taken yet
}

// dial connects and listens until the line is silent. The client is closed when
// ctx ends.
func (l *line) dial(ctx context.Context) (client, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	c := &rtuClient{line: l, conn: conn}
	c.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := c.listen(max(freshQuiet, l.gap)); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *rtuClient) close() {
	c.release()
	_ = c.conn.Close() // nothing to be saved
}

// giveUp gives a late answer the time to arrive, where it can do no harm.
func (c *rtuClient) giveUp() {
	_ = c.listen(c.quiet())
	c.close()
}

// listen takes what comes until nothing came for so long. It is no answer to
// anything.
func (c *rtuClient) listen(silence time.Duration) error {
	end := time.Now().Add(4*silence + time.Second)
	for {
		for len(c.buf) > 0 {
			_, n, err := parseFrame(c.buf)
			if err != nil {
				c.buf = c.buf[:0]
			}
			if err != nil || n == 0 {
				break
			}
			c.strays.Add(1)
			c.take(n)
		}
		if time.Now().After(end) {
			return errBabble
		}
		if err := c.receive(time.Now().Add(silence)); err != nil {
			c.buf = c.buf[:0]
			if isTimeout(err) {
				return nil
			}
			return err
		}
	}
}

// receive reads what is there, or comes before the deadline.
func (c *rtuClient) receive(deadline time.Time) error {
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	var some [rtuLongest]byte
	n, err := c.conn.Read(some[:])
	c.buf = append(c.buf, some[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// take removes bytes from what was received.
func (c *rtuClient) take(n int) { c.buf = append(c.buf[:0], c.buf[n:]...) }

func (c *rtuClient) read(unit uint8, t Table, first, count uint16) (wire []byte, bits []bool, err error) {
	if err := c.listen(c.gap); err != nil {
		return nil, nil, err
	}
	d := debt{table: t, first: first, count: count}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, nil, err
	}
	if _, err := c.conn.Write(appendRequest(nil, unit, t, first, count)); err != nil {
		return nil, nil, err
	}
	deadline := time.Now().Add(c.timeout + c.exchange(t, count))
	data, err := c.answer(unit, d, deadline)
	if err != nil {
		if _, refused := asException(err); !refused {
			c.owe(unit, d)
		}
		return nil, nil, err
	}
	if !t.bits() {
		return data, nil, nil
	}
	bits = make([]bool, count)
	for i := range bits {
		bits[i] = data[i/8]>>(i%8)&1 == 1
	}
	return nil, bits, nil
}

// answer waits for the answer to a request. Those of other units are late and do
// no harm: what they are of is written on them.
func (c *rtuClient) answer(unit uint8, d debt, deadline time.Time) ([]byte, error) {
	other := false
	for {
		f, err := c.next(deadline)
		if err != nil {
			if other && isTimeout(err) {
				err = errOther
			}
			return nil, err
		}
		switch {
		case f.unit != unit:
		case f.function == d.table.function() && len(f.data) == d.table.dataSize(d.count):
			c.answered(unit, d)
			return f.data, nil
		case f.function == d.table.function()|0x80 && !c.expects(unit):
			return nil, exception(f.data[0])
		default:
			other = true // or a refusal that may be of what is owed
		}
		c.strays.Add(1)
	}
}

// next gives the next whole frame.
func (c *rtuClient) next(deadline time.Time) (frame, error) {
	for {
		f, n, err := parseFrame(c.buf)
		if err != nil {
			return frame{}, err
		}
		if n > 0 {
			f.data = bytes.Clone(f.data)
			c.take(n)
			return f, nil
		}
		if err := c.receive(deadline); err != nil {
			switch {
			case !isTimeout(err):
				return frame{}, err
			case len(c.buf) > 0:
				return frame{}, errHalf
			}
			return frame{}, modbus.ErrRequestTimedOut
		}
	}
}
