//go:build interop

package interop

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

// TestIndependentReceiver: a receiver in C, of OpenSSL and usrsctp, that knows
// docs/dtls-uplink.md only, gets every message byte for byte; over a network that
// loses and reorders too.
func TestIndependentReceiver(t *testing.T) {
	program, err := build("usrsctp-receiver", func(out string) (*exec.Cmd, error) {
		return exec.CommandContext(t.Context(), "gcc", "-std=gnu11", "-O2", "-o", out, "usrsctp/receiver.c", "-lusrsctp", "-lssl", "-lcrypto", "-lpthread"), nil
	})
	require.NoError(t, err, "apt install libusrsctp-dev libssl-dev")
	for _, c := range []struct {
		name  string
		path  impair.Rule
		total int
	}{
		{"loopback", impair.Rule{}, 2000},
		{"3 percent lost, reordered", impair.Rule{Loss: 0.03, Reorder: 0.1, ReorderBy: 2 * time.Millisecond}, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newDTLSPlant(t)
			_, files := p.issue(p.Authority, "hub", authority.Hub)
			client, _ := p.issue(p.Authority, "gw-1", authority.Gateway)
			port, stored := freeUDP(t), filepath.Join(t.TempDir(), "stored")
			cmd := exec.CommandContext(t.Context(), program, port, files[1], files[3], p.path("ca.pem"))
			out, err := os.Create(stored)
			require.NoError(t, err)
			defer out.Close()
			cmd.Stdout = out
			receiver := start(t, "usrsctp receiver", cmd)
			x, err := impair.Listen(impair.Config{Seed: 42, Target: "127.0.0.1:" + port, Up: c.path, Down: c.path})
			require.NoError(t, err)
			defer x.Close()
			u, err := dtls.New(dtls.Config{
				Servers: []string{x.Addr()}, Gateway: "gw-1", Prefix: "plant", Stream: "PLANT",
				TLS: &tls.Config{RootCAs: p.Pool(), Certificates: []tls.Certificate{client}},
			})
			require.NoError(t, err)
			defer u.Close()
			var want bytes.Buffer
			var batch []envelope.Message
			for i := range c.total {
				m := envelope.Message{
					Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
					Epoch:       envelope.Epoch{Start: 1, Number: 1},
					Sequence:    uint64(i + 1),
					ContentType: envelope.TypeSealed,
					Body:        bytes.Repeat([]byte{byte(i)}, []int{0, 10, 1000, 3000}[i%4]),
				}
				if i%200 == 100 {
					m.Body = bytes.Repeat([]byte{byte(i)}, envelope.MaxBody)
				}
				binary.BigEndian.PutUint64(m.ID[:], m.Sequence)
				batch = append(batch, m)
				b := envelope.AppendMessage(nil, &m)
				_ = binary.Write(&want, binary.BigEndian, uint32(len(b)))
				want.Write(b)
			}
			began := time.Now()
			for len(batch) > 0 {
				n, err := u.Send(t.Context(), batch[:min(256, len(batch))])
				batch = batch[n:]
				require.True(t, err == nil || time.Since(began) < time.Minute, "%v", err)
			}
			t.Logf("%.0f messages/s", float64(c.total)/time.Since(began).Seconds())
			got, err := os.ReadFile(stored)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want.Bytes(), got), "%d bytes instead of %d", len(got), want.Len())
			require.EqualValues(t, 1, u.Connections())
			require.NoError(t, u.Close())
			select {
			case <-receiver.done:
				require.NoError(t, receiver.err, "it hears that the gateway closes")
			case <-time.After(startTimeout):
				t.Fatal("it does not hear that the gateway closes")
			}
			ran("usrsctp", "receiver")
		})
	}
}
