package impair

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTCP(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	x, err := ListenTCP(server.Addr().String())
	require.NoError(t, err)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", x.Addr())
		require.NoError(t, err)
		return c
	}
	echo := func(c net.Conn, within time.Duration) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(within)))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	c := dial()
	require.NoError(t, echo(c, time.Minute))
	x.Stall()
	require.ErrorIs(t, echo(c, 50*time.Millisecond), os.ErrDeadlineExceeded)
	x.Mend()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err, "what was stalled is not lost")
	require.NoError(t, echo(c, time.Minute))

	x.Cut()
	err = echo(c, time.Minute)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	// Where nobody is, a client learns of it as it connects, or with what it sends.
	if c, err = net.Dial("tcp", x.Addr()); err == nil {
		err = echo(c, time.Minute)
	}
	require.Error(t, err, "nobody is there")
	x.Mend()
	c = dial()
	require.NoError(t, echo(c, time.Minute))
	x.Stall()
	require.NoError(t, x.Close(), "while it is stalled")
	require.Error(t, echo(c, time.Minute))
}
