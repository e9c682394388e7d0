package files

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

func TestSend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	u := uplink(t, Config{Folder: dir})
	batch := messages(1, 600, 200)
	send(t, u, batch)
	send(t, u, nil)
	require.Equal(t, []string{"gw-1-00000001.fseal.part", "gw-1.last"}, names(t, dir))
	require.Equal(t, upTo(600), sequences(t, dir), "as it is being written")
	send(t, u, batch[590:]) // again
	require.NoError(t, u.Close())
	require.Equal(t, []string{"gw-1-00000001.fseal", "gw-1.last"}, names(t, dir))
	require.Equal(t, append(upTo(600), upTo(600)[590:]...), sequences(t, dir), "there twice: a reader gives it once")
	require.EqualValues(t, 1, u.Connections())
	info, err := os.Stat(filepath.Join(dir, "gw-1-00000001.fseal"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	u := uplink(t, Config{Folder: t.TempDir()})
	sent := []envelope.Message{message(1, 0), message(1<<40, envelope.MaxBody), message(3, 1)}
	sent[1].Time = -5
	sent[2].Address.Kind, sent[2].Address.Point, sent[2].ContentType = envelope.Passthrough, "torque-log", "a/b"
	send(t, u, sent)
	var got []envelope.Message
	require.NoError(t, Read(t.Context(), []string{u.cfg.Folder}, func(m envelope.Message) error {
		got = append(got, m)
		return nil
	}))
	require.Equal(t, sent, got)
}

func TestNumbersRise(t *testing.T) {
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir, SegmentSize: leastSize})
	send(t, u, messages(1, 200, 1000))
	require.NoError(t, u.Close())
	require.Equal(t, []string{"gw-1-00000001.fseal", "gw-1-00000002.fseal", "gw-1-00000003.fseal", "gw-1-00000004.fseal"}, segments(t, dir))
	require.Equal(t, upTo(200), sequences(t, dir))
	for _, name := range segments(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(leastSize+1200))
		require.NoError(t, os.Remove(filepath.Join(dir, name)), "carried off")
	}
	u = uplink(t, Config{Folder: dir})
	send(t, u, messages(1, 1, 10))
	require.NoError(t, u.Close())
	require.Equal(t, []string{"gw-1-00000005.fseal"}, segments(t, dir))

	// Without the number, what is there counts; and nothing is written over.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gw-1.last"), []byte("many"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gw-1-2-00000009.fseal"), nil, 0o600))
	u = uplink(t, Config{Folder: dir})
	send(t, u, messages(2, 2, 10))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gw-1-00000006.fseal"), nil, 0o600))
	require.NoError(t, u.Close())
	require.Equal(t, []string{"gw-1-00000005.fseal", "gw-1-00000006.fseal", "gw-1-00000007.fseal", "gw-1-2-00000009.fseal"}, segments(t, dir))
	require.Equal(t, []uint64{2}, sequences(t, filepath.Join(dir, "gw-1-00000007.fseal")))
}

func TestOldSegmentsAreFinished(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		u := uplink(t, Config{Folder: dir})
		send(t, u, messages(1, 1, 10))
		<-time.After(defaultAge - time.Second)
		send(t, u, messages(2, 2, 10))
		require.Empty(t, segments(t, dir))
		<-time.After(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"gw-1-00000001.fseal"}, segments(t, dir))
		<-time.After(10 * defaultAge)
		require.Equal(t, []string{"gw-1-00000001.fseal", "gw-1.last"}, names(t, dir), "no empty segments")
		send(t, u, messages(3, 3, 10))
		require.NoError(t, u.Close())
		require.Equal(t, upTo(3), sequences(t, dir))
	})
}

func TestRefused(t *testing.T) {
	u := uplink(t, Config{Folder: t.TempDir()})
	sent := 0
	refuse := func(change func(*envelope.Message), words string) {
		t.Helper()
		batch := messages(sent+1, sent+9, 10)
		change(&batch[5])
		n, err := u.Send(t.Context(), batch)
		require.Equal(t, 5, n)
		var r *envelope.Refused
		require.ErrorAs(t, err, &r)
		require.ErrorContains(t, err, words)
		n, err = u.Send(t.Context(), append(batch[6:], message(sent+6, 10)))
		require.NoError(t, err)
		require.Equal(t, 4, n)
		sent += 9
	}
	refuse(func(m *envelope.Message) { m.Body = make([]byte, envelope.MaxBody+1) }, "over the 122880")
	refuse(func(m *envelope.Message) { m.ContentType = string(make([]byte, 300)) }, "too long")
	refuse(func(m *envelope.Message) { m.Address.Stream.Machine = "\xff" }, "UTF-8")
	refuse(func(m *envelope.Message) { m.Address.Kind = 99 }, "unknown kind")
	refuse(func(m *envelope.Message) { m.Sequence = 0 }, "sequence number")
	got := sequences(t, u.cfg.Folder)
	slices.Sort(got)
	require.Equal(t, upTo(sent), got)
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir, SegmentSize: leastSize})
	disk := &sick{room: 20_000}
	u.disk = disk
	stored := 0
	for room := range 40 { // at each place in a message, a header and the number
		for {
			n, err := u.Send(t.Context(), messages(stored+1, stored+7, 900))
			stored += n
			if err != nil {
				requireTransient(t, err, "no space left")
				require.Zero(t, disk.room)
				break
			}
		}
		require.Equal(t, upTo(stored), sequences(t, dir))
		disk.room = 7000 + 973*room
	}
	disk.room = -1
	send(t, u, messages(stored+1, stored+7, 900))
	require.NoError(t, u.Close())
	require.Equal(t, upTo(stored+7), sequences(t, dir))
	require.NotContains(t, names(t, dir), "gw-1.last.part")
}

// TestEveryFault: each operation fails once, at each place. What Send reported
// stored is there, in order, and it goes on.
func TestEveryFault(t *testing.T) {
	for k := range 200 {
		dir := t.TempDir()
		u := uplink(t, Config{Folder: dir, SegmentSize: leastSize})
		calls, failed := 0, ""
		u.disk = &sick{room: -1, fault: func(op, name string) error {
			if calls++; calls == k {
				failed = op + " " + name
				return syscall.EIO
			}
			return nil
		}}
		stored, errs := 0, 0
		for stored < 140 {
			n, err := u.Send(t.Context(), messages(stored+1, stored+20, 1000))
			stored += n
			if err != nil {
				requireTransient(t, err, "input/output")
				errs++
				require.LessOrEqual(t, errs, 2, failed)
			}
			got, err := read(t, dir)
			require.NoError(t, err, failed)
			require.True(t, len(got) >= stored && slices.Equal(upTo(stored), got[:stored]), failed)
		}
		_ = u.Close() // may be what fails
		require.Equal(t, upTo(stored), sequences(t, dir)[:stored], failed)
		if calls < k {
			return
		}
	}
	t.Fatal("no end")
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	for words, err := range map[string]error{
		"permission denied": syscall.EACCES, "operation not permitted": syscall.EPERM, "mount it for writing": syscall.EROFS,
	} {
		u := uplink(t, Config{Folder: dir})
		disk := &sick{room: -1, fault: func(op, _ string) error {
			if op == "create" {
				return err
			}
			return nil
		}}
		u.disk = disk
		_, err := u.Send(t.Context(), messages(1, 3, 10))
		requireFault(t, err, words)
		disk.fault = nil
		send(t, u, messages(1, 3, 10))
	}
	u := uplink(t, Config{Folder: filepath.Join(dir, "stick", "out")})
	_, err := u.Send(t.Context(), messages(1, 3, 10))
	requireFault(t, err, "put the stick in")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "stick"), 0o700))
	send(t, u, messages(1, 3, 10))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = uplink(t, Config{Folder: file}).Send(t.Context(), messages(1, 3, 10))
	requireFault(t, err, "not a directory")
}

func TestEnds(t *testing.T) {
	u := uplink(t, Config{Folder: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := u.Send(ctx, messages(1, 3, 10))
	require.Zero(t, n)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, u.Close())
	require.NoError(t, u.Close())
	_, err = u.Send(t.Context(), messages(1, 3, 10))
	requireTransient(t, err, "closed")
}

func TestNewRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no folder":                     func(c *Config) { c.Folder = "" },
		"write lower-case letters":      func(c *Config) { c.Gateway = "../gw" },
		"write 64KiB at least":          func(c *Config) { c.SegmentSize = 1 },
		"segments of -1 bytes":          func(c *Config) { c.SegmentSize = -1 },
		"segments of -1s; leave it out": func(c *Config) { c.SegmentAge = -time.Second },
	} {
		cfg := Config{Folder: "out", Gateway: "gw-1"}
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
}

// TestUplinkIsGone: a stick that is pulled and put in again.
func TestUplinkIsGone(t *testing.T) {
	stick := filepath.Join(t.TempDir(), "stick")
	require.NoError(t, os.Mkdir(stick, 0o700))
	u := uplink(t, Config{Folder: filepath.Join(stick, "out"), SegmentSize: leastSize})
	send(t, u, messages(1, 100, 1000))
	require.NoError(t, os.Rename(stick, stick+"-pulled"))
	stored := 100
	for {
		n, err := u.Send(t.Context(), messages(stored+1, stored+10, 1000))
		if stored += n; err != nil { // an open file is still written to: this test has no real stick
			requireFault(t, err, "put the stick in")
			break
		}
	}
	require.NoError(t, os.Rename(stick+"-pulled", stick))
	send(t, u, messages(stored+1, stored+10, 1000))
	require.NoError(t, u.Close())
	require.Equal(t, upTo(stored+10), sequences(t, filepath.Join(stick, "out")))
	_, err := os.Stat(stick + "-pulled")
	require.ErrorIs(t, err, os.ErrNotExist)
}
