//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// LibmodbusOptions says what a [Libmodbus] serves. The zero value is valid.
type LibmodbusOptions struct {
	Units  []byte // unit ids that answer; unit 1 where none is given
	Canary string // the text at holding/20, at most 32 bytes: a secret to look for upstream

	Texts [3]string // further texts at holding/40, holding/60 and holding/80, at most 32 bytes each
}

// Libmodbus is a Modbus/TCP server of somebody else's making. libmodbus/server.c
// says what its registers hold.
type Libmodbus struct {
	Addr    string // 127.0.0.1:port; the same for its whole life
	Version string
	Units   []byte
	Canary  string
	Texts   [3]string

	t       testing.TB
	program string
	truth   string
	p       *process
}

// StartLibmodbus builds and starts the server. It ends with the test.
func StartLibmodbus(t testing.TB, o LibmodbusOptions) *Libmodbus {
	t.Helper()
	program, err := build("libmodbus-server", func(out string) (*exec.Cmd, error) {
		flags, err := exec.CommandContext(t.Context(), "pkg-config", "--cflags", "--libs", "libmodbus").Output()
		if err != nil {
			return nil, fmt.Errorf("pkg-config does not know libmodbus; run integration/interop/install.sh: %w", err)
		}
		args := append([]string{"-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", out, filepath.Join("libmodbus", "server.c")},
			strings.Fields(string(flags))...)
		return exec.CommandContext(t.Context(), "gcc", append(args, "-lm")...), nil
	})
	require.NoError(t, err)

	if o.Units == nil {
		o.Units = []byte{1}
	}
	for _, text := range append(o.Texts[:], o.Canary) {
		require.LessOrEqual(t, len(text), 32, "a text has room for 32 bytes")
	}
	m := &Libmodbus{
		Addr: "127.0.0.1:0", Units: o.Units, Canary: o.Canary, Texts: o.Texts,
		t: t, program: program, truth: filepath.Join(t.TempDir(), "truth"),
	}
	m.Start()
	return m
}

// Start starts a server that was killed or stopped, on the same port. Its counters go on.
func (m *Libmodbus) Start() {
	m.t.Helper()
	_, port, _ := strings.Cut(m.Addr, ":")
	args := append([]string{port, m.truth, m.Canary}, m.Texts[:]...)
	for _, u := range m.Units {
		args = append(args, strconv.Itoa(int(u)))
	}
	m.p = start(m.t, "libmodbus", exec.Command(m.program, args...))
	m.Version = m.p.line(m.t, "libmodbus ")
	m.Addr = "127.0.0.1:" + m.p.line(m.t, "listening ")
	ran("libmodbus", m.Version)
}

// Kill ends the server without a word to its clients.
func (m *Libmodbus) Kill() { m.p.stop(syscall.SIGKILL) }

// Stop ends the server between two answers: what the truth has, the client got.
func (m *Libmodbus) Stop() { m.p.stop(syscall.SIGTERM) }

// Truth gives all values of a unit's counter that the server has sent, in
// order. A value whose client was gone before it arrived may be among them.
func (m *Libmodbus) Truth(unit byte) []uint32 {
	m.t.Helper()
	var out []uint32
	m.told(func(what string, u byte, number uint32) {
		switch {
		case u != unit:
		case what == "sent":
			out = append(out, number)
		case what == "unsent":
			out = out[:len(out)-1]
		}
	})
	return out
}

// Refused gives the function codes of all requests that were no reads. A
// gateway makes none.
func (m *Libmodbus) Refused() []byte {
	m.t.Helper()
	var out []byte
	m.told(func(what string, _ byte, number uint32) {
		if what == "refused" {
			out = append(out, byte(number))
		}
	})
	return out
}

// told reads what the server wrote down. The server writes a line before the
// answer leaves, so that what a client has seen is there.
func (m *Libmodbus) told(line func(what string, unit byte, number uint32)) {
	m.t.Helper()
	b, err := os.ReadFile(m.truth)
	require.NoError(m.t, err)
	for s := range strings.Lines(string(b)) {
		var what string
		var unit byte
		var number uint32
		_, err := fmt.Sscan(s, &what, &unit, &number)
		require.NoError(m.t, err, "line %q of the server's truth", s)
		line(what, unit, number)
	}
}
