package modbus_test

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// blackHole gives an address at which a dial hangs: a listener that never
// accepts and whose backlog is full. release ends it, and so the dials.
func blackHole(t *testing.T) (address string, release func()) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	f := os.NewFile(uintptr(fd), "listener")
	l, err := net.FileListener(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	var conns []net.Conn
	for range 8 {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			break
		}
		conns = append(conns, c)
	}
	release = func() {
		_ = l.Close()
		for _, c := range conns {
			_ = c.Close()
		}
	}
	t.Cleanup(release)
	if !dialing(l.Addr().String()) {
		t.Fatal("this system lets a dial through to a full listener: the test needs one that hangs")
	}
	return l.Addr().String(), release
}
