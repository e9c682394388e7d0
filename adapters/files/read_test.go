package files

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// filled gives the bytes of a finished segment.
func filled(t testing.TB, gateway string, batch []envelope.Message) []byte {
	t.Helper()
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir, Gateway: gateway})
	send(t, u, batch)
	require.NoError(t, u.Close())
	b, err := os.ReadFile(filepath.Join(dir, fileName(gateway, 1)))
	require.NoError(t, err)
	return b
}

func TestOrderOfAFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	write("gw-2-00000001.fseal", filled(t, "gw-2", messages(5, 5, 10)))
	write("gw-1-100000000.fseal", filled(t, "gw-1", messages(3, 3, 10)))
	write("gw-1-99999999.fseal", filled(t, "gw-1", messages(2, 2, 10)))
	write("gw-1-00000010.fseal", filled(t, "gw-1", messages(1, 1, 10)))
	live := filled(t, "gw-1", messages(4, 6, 10))
	write("gw-1-100000001.fseal.part", live[:len(live)-100])
	write("gw-1.last", []byte("100000001"))
	write("gw-1-1.fseal", []byte("no segment's name"))
	write("README.txt", []byte("carry these to the office"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "gw-1-00000011.fseal"), 0o700))
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 5}, sequences(t, dir), "the last is of gw-2")
	require.Equal(t, []uint64{2, 1}, sequences(t, filepath.Join(dir, "gw-1-99999999.fseal"), filepath.Join(dir, "gw-1-00000010.fseal")))
}

// TestFinishedMeanwhile: a segment that was being written when the folder was
// looked at.
func TestFinishedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "gw-1-00000001.fseal")
	require.NoError(t, os.WriteFile(name, filled(t, "gw-1", messages(1, 3, 10)), 0o600))
	require.Equal(t, upTo(3), sequences(t, name+part))
}

func TestStandardInput(t *testing.T) {
	all := append(filled(t, "gw-1", messages(1, 3, 10)), filled(t, "gw-1", messages(4, 6, envelope.MaxBody))...)
	var got []uint64
	collect := func(m envelope.Message) error {
		got = append(got, m.Sequence)
		return nil
	}
	require.NoError(t, ReadFrom(t.Context(), "-", bytes.NewReader(all), collect))
	require.Equal(t, upTo(6), got)
	var damage *Damage
	err := ReadFrom(t.Context(), "-", bytes.NewReader(all[:len(all)-1]), collect)
	require.ErrorAs(t, err, &damage)
	require.ErrorIs(t, err, errMore)
	require.ErrorContains(t, ReadFrom(t.Context(), "-", bytes.NewReader(nil), collect), "-: byte 0: is empty")
}

// TestDamage: each byte of a segment is changed, or the segment ends there. All
// but the one message is read, nothing wrong is, and the next file is.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "gw-1-00000001.fseal"), filepath.Join(dir, "gw-1-00000002.fseal")
	b := filled(t, "gw-1", messages(1, 3, 20))
	require.NoError(t, os.WriteFile(second, filled(t, "gw-1", messages(4, 4, 20)), 0o600))
	header := len(appendHeader(nil, "gw-1", 1)) + sumSize
	each := (len(b) - header) / 3
	for at := range b {
		changed := append([]byte{}, b...)
		changed[at] ^= 0x11
		for i, spoiled := range [][]byte{changed, b[:at]} {
			require.NoError(t, os.WriteFile(first, spoiled, 0o600))
			got, err := read(t, dir)
			before := max(at-header, 0) / each
			want := upTo(before)
			if i == 0 {
				want = upTo(3)
				if at >= header {
					want = slices.Delete(want, before, before+1)
				}
			}
			require.Equal(t, append(want, 4), got, "byte %d", at)
			if len(spoiled) == header+before*each && before > 0 {
				continue // ends where a message does: only the sequence numbers tell
			}
			if len(spoiled) == header && at >= header {
				continue
			}
			var damage *Damage
			require.ErrorAs(t, err, &damage, "byte %d", at)
			require.Equal(t, first, damage.File)
			require.LessOrEqual(t, damage.Offset, int64(at))
		}
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "gw-1-00000009.fseal")
	require.NoError(t, os.WriteFile(good, filled(t, "gw-1", messages(1, 3, 10)), 0o600))
	bad := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	later := []byte("\x83\x73fieldseal segment 2\x64gw-1\x01")
	for path, words := range map[string]string{
		filepath.Join(dir, "nowhere"):                                "no such file",
		bad("text", "date;value\n2026-07-01;17\n"):                   "byte 0: is no message",
		bad("json", `[{"n":"x"}]`):                                   "byte 0: is no message",
		bad("empty", ""):                                             "byte 0: is empty",
		bad("later", string(appendSum(later, later))):                "of a later version",
		bad("huge", "\x8d\x7b\xff\xff\xff\xff\xff\xff\xff"):          "in the middle of a message",
		bad("huger", "\x8d\x7b\x7f\xff\xff\xff\xff\xff\xff\xff\xff"): "it is too long",
		bad("deep", "\x8d\x8d\x8d\x8d\x8d\x8d\x8d\x8d"):              "an item of another type",
	} {
		got, err := read(t, path, good)
		require.Equal(t, upTo(3), got, "the next file is read")
		require.ErrorContains(t, err, words)
		require.ErrorContains(t, err, filepath.Base(path))
	}
	stop := errors.New("enough")
	calls := 0
	require.Equal(t, stop, Read(t.Context(), []string{good, good}, func(envelope.Message) error {
		calls++
		return stop
	}))
	require.Equal(t, 1, calls)
	ctx, cancel := context.WithCancel(t.Context())
	require.Equal(t, context.Canceled, Read(ctx, []string{good, good}, func(envelope.Message) error {
		cancel()
		return nil
	}))
}

// FuzzRead: whatever a file holds, reading it ends, in bounds; and what is read
// can be written and read again.
func FuzzRead(f *testing.F) {
	f.Add(filled(f, "gw-1", messages(1, 2, 10)))
	f.Add([]byte("\x8d\x8d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []envelope.Message
		err := ReadFrom(t.Context(), "-", bytes.NewReader(b), func(m envelope.Message) error {
			got = append(got, m)
			return nil
		})
		var damage *Damage
		if err != nil {
			require.ErrorAs(t, err, &damage)
			require.LessOrEqual(t, damage.Offset, int64(len(b)))
		}
		for i := range got {
			again := envelope.AppendMessage(nil, &got[i])
			require.True(t, bytes.Contains(b, appendSum(again, again)))
		}
		n, err := sizeOf(b)
		require.True(t, err != nil || n <= len(b))
	})
}

// TestEachSegmentOpensAlone: real keys, one stream that is rekeyed and one that
// is not, and segments that begin anywhere.
func TestEachSegmentOpensAlone(t *testing.T) {
	identity, err := envelope.NewIdentity(envelope.X25519, "office")
	require.NoError(t, err)
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer := envelope.Signer{Gateway: "gw-1", Key: private}
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir, SegmentSize: leastSize})
	now := time.Now()
	sealers := map[string]*envelope.Sealer{}
	epochs := map[string]envelope.Epoch{}
	sequence := map[string]uint64{}
	batch := func(round int) (all []envelope.Message) {
		for _, machine := range []string{"press-1", "press-2"} {
			stream := envelope.Stream{Gateway: "gw-1", Machine: machine, Level: "restricted"}
			add := func(kind envelope.Kind, contentType string, make func(n uint64) ([]byte, error)) {
				sequence[machine]++
				body, err := make(sequence[machine])
				require.NoError(t, err)
				all = append(all, envelope.Message{
					Address: envelope.Address{Stream: stream, Kind: kind}, Epoch: epochs[machine], Sequence: sequence[machine],
					ContentType: contentType, Time: now.UnixNano(), Body: body,
				})
			}
			if round == 0 || machine == "press-1" && round%7 == 0 {
				epochs[machine] = envelope.Epoch{Start: 1, Instance: [8]byte{1}, Number: uint32(round + 1)}
				sealers[machine], err = envelope.NewSealer(envelope.EpochConfig{
					Stream: stream, Epoch: epochs[machine], Recipients: []envelope.Recipient{identity.Recipient()}, Signer: signer,
				})
				require.NoError(t, err)
				add(envelope.KeyFrame, envelope.TypeSigned, sealers[machine].KeyFrame)
			}
			for range 10 {
				add(envelope.Data, envelope.TypeSealed, func(n uint64) ([]byte, error) {
					return sealers[machine].Seal(nil, n, machine+"/", []envelope.Sample{
						{Name: "log", Time: now.UnixNano(), Value: envelope.OfBytes(make([]byte, 1000))},
					})
				})
			}
		}
		return all
	}
	sealed := 0
	for round := range 30 {
		b := batch(round)
		for i := range b {
			if b[i].Address.Kind == envelope.Data {
				sealed++
			}
		}
		send(t, u, b)
	}
	require.NoError(t, u.Close())
	require.Greater(t, len(segments(t, dir)), 8)
	opened := 0
	for _, name := range segments(t, dir) {
		reader := envelope.NewReader(envelope.ReaderOptions{
			Trust:      &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{"gw-1": {{Public: public}}}},
			Identities: []*envelope.Identity{identity}, Now: true,
		})
		err := Read(t.Context(), []string{filepath.Join(dir, name)}, func(m envelope.Message) error {
			deliveries, err := reader.Read(&m)
			for _, d := range deliveries {
				if d.Unopened || len(d.Samples) != 1 {
					return fmt.Errorf("message %d cannot be opened", d.Sequence)
				}
				opened++
			}
			return err
		})
		require.NoError(t, err, name)
	}
	require.Equal(t, sealed, opened)
}
