package outbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	childDir   = "OUTBOX_TEST_CHILD"
	childFirst = "OUTBOX_TEST_FIRST"
)

func childOptions(dir string) Options {
	return Options{Dir: dir, Key: testKey(), MaxSize: 64 << 20, SegmentSize: 64 << 10}
}

// child appends and prints the id of each acknowledged record, until it is killed. Every 50 it frees a part.
func child(dir string) {
	l, err := Open(childOptions(dir))
	if err != nil {
		fmt.Println("cannot open:", err)
		return
	}
	l.SetPreamble(func() []Record { return recs(0, 3, 100) })
	id, _ := strconv.ParseUint(os.Getenv(childFirst), 10, 64)
	for n := uint64(1); ; n++ {
		count := 1 + int(n%3)*7
		last, err := l.Append(recs(id, count, 400))
		if err != nil {
			fmt.Println("cannot append:", err)
			return
		}
		id += uint64(count)
		freed := uint64(0)
		if n%10 == 0 {
			freed = last - last%5
			if err := l.Free(freed); err != nil {
				fmt.Println("cannot free:", err)
				return
			}
		}
		fmt.Println(id-1, last, freed)
	}
}

func TestKill9(t *testing.T) {
	dir := t.TempDir()
	next, lastPosition := uint64(1), uint64(0)
	for round := range 25 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, childFirst+"="+strconv.FormatUint(next, 10))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines, acked, first := 0, next-1, next
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			var id, position, freed uint64
			_, err := fmt.Sscan(scanner.Text(), &id, &position, &freed)
			require.NoError(t, err, scanner.Text())
			acked, lastPosition = id, position
			if lines++; lines == 3+round*5 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // killed
		require.GreaterOrEqual(t, lines, 3+round*5)

		l := mustOpen(t, childOptions(dir))
		require.Empty(t, l.Damage())
		var ids []uint64
		positions := uint64(0)
		require.NoError(t, l.Replay(func(e Entry) error {
			if e.Position > 0 {
				require.Greater(t, e.Position, positions)
				positions = e.Position
				ids = append(ids, idOf(e))
			}
			return nil
		}))
		require.GreaterOrEqual(t, ids[len(ids)-1], acked, "acknowledged and not there")
		require.Equal(t, span(ids[0], ids[len(ids)-1]), ids)
		got, at := readAll(t, l)
		if len(got) > 0 {
			require.Equal(t, span(got[0], ids[len(ids)-1]), got, "every id since the freed one")
			require.GreaterOrEqual(t, at[len(at)-1], lastPosition)
		}
		require.GreaterOrEqual(t, ids[len(ids)-1]+1, first)
		next = ids[len(ids)-1] + 1
		require.NoError(t, l.Close())
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, f.Name() == cursorName || strings.HasSuffix(f.Name(), segmentSuffix) || strings.HasSuffix(f.Name(), spareSuffix), f.Name())
	}
}
