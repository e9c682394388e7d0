package files

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	childFolder = "FILES_TEST_CHILD"
	childFirst  = "FILES_TEST_FIRST"
)

// child sends, and prints how far it is, until it is killed.
func child(dir string) {
	u, err := New(Config{Folder: dir, Gateway: "gw-1", SegmentSize: leastSize})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _ := strconv.Atoi(os.Getenv(childFirst))
	for {
		batch := messages(first, first+16, 3000)
		if _, err := u.Send(context.Background(), batch); err != nil {
			fmt.Println(err)
			return
		}
		first += len(batch)
		fmt.Println(first - 1)
	}
}

func TestKill9(t *testing.T) {
	dir := t.TempDir()
	next, finished := 1, 0
	for round := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childFolder+"="+dir, childFirst+"="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		acked, lines := 0, 0
		for s := bufio.NewScanner(out); s.Scan(); {
			acked, err = strconv.Atoi(s.Text())
			require.NoError(t, err, s.Text())
			if lines++; lines == 2+round {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // killed
		got := sequences(t, dir)
		require.Equal(t, upTo(len(got)), got, "each once, in order, without the next process")
		require.GreaterOrEqual(t, len(got), acked, "reported and not there")
		next = len(got) + 1
		require.GreaterOrEqual(t, len(segments(t, dir)), finished)
		finished = len(segments(t, dir))
	}
	u := uplink(t, Config{Folder: dir})
	send(t, u, messages(next, next, 10))
	require.NoError(t, u.Close())
	require.Equal(t, upTo(next), sequences(t, dir))
	require.Len(t, names(t, dir), len(segments(t, dir))+1, "nothing but segments, and the number")
}

// TestTornTail: a segment that was written to any of its bytes, and what a power
// cut may leave behind.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir})
	send(t, u, messages(1, 3, 20))
	require.NoError(t, u.Close())
	whole, err := os.ReadFile(filepath.Join(dir, "gw-1-00000001.fseal"))
	require.NoError(t, err)
	header := len(appendHeader(nil, "gw-1", 1)) + sumSize
	each := (len(whole) - header) / 3
	for cut := 0; cut <= len(whole); cut += 1 + cut/60 {
		for _, tail := range []string{"", "\x00\x00\x00\x00\x00", "\x8d\xff\xff"} {
			dir := t.TempDir()
			b := append(append([]byte{}, whole[:cut]...), tail...)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "gw-1-00000007.fseal.part"), b, 0o600))
			stored := max(cut-header, 0) / each
			got, _ := read(t, dir)
			require.Equal(t, upTo(stored), append([]uint64{}, got...), "live, cut at %d", cut)
			u := uplink(t, Config{Folder: dir})
			send(t, u, messages(stored+1, stored+1, 20))
			require.NoError(t, u.Close())
			require.Equal(t, upTo(stored+1), sequences(t, dir), "cut at %d", cut)
			want := []string{"gw-1-00000007.fseal", "gw-1-00000008.fseal"}
			if stored == 0 {
				want = want[1:]
			}
			require.Equal(t, want, segments(t, dir))
		}
	}
}

// TestDamagedInTheMiddle: what is behind the damage was reported stored, and is
// never cut off.
func TestDamagedInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	u := uplink(t, Config{Folder: dir})
	send(t, u, messages(1, 9, 100))
	require.NoError(t, u.Close())
	name := filepath.Join(dir, "gw-1-00000001.fseal")
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	one := message(1, 100)
	item := envelope.AppendMessage(nil, &one)
	b[len(appendHeader(nil, "gw-1", 1))+sumSize+3*(len(item)+sumSize)] = 0xff // the head of message 4
	require.NoError(t, os.WriteFile(name+part, b, 0o600))
	require.NoError(t, os.Remove(name))
	u = uplink(t, Config{Folder: dir})
	send(t, u, messages(10, 10, 100))
	require.NoError(t, u.Close())
	kept, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, b, kept)
	got, err := read(t, dir)
	require.Equal(t, []uint64{1, 2, 3, 5, 6, 7, 8, 9, 10}, got)
	var damage *Damage
	require.ErrorAs(t, err, &damage)
	require.Equal(t, name, damage.File)
}
