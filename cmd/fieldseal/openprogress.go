package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells how far reading is: on a terminal in one line that is written
// again, otherwise now and then in a line of its own while there is much to read.
// It is the writer of all else for stderr, which goes above that line.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	quiet    bool
	terminal bool
	line     bool // the line stands there
	at       time.Time
	messages uint64
	began    uint64 // the first position
}

const (
	lineEvery = time.Second
	sayEvery  = 30 * time.Second
)

func newProgress(quiet bool, stdout, stderr io.Writer) *progress {
	// Samples on the same screen are progress enough, and would run into the line.
	return &progress{w: stderr, quiet: quiet, terminal: isTerminal(stderr) && !isTerminal(stdout), at: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// Write writes above the line.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	return p.w.Write(b)
}

func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

func (p *progress) wipe() {
	if p.line {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.line = false
	}
}

// show tells how far it is, where that is due.
func (p *progress) show(now time.Time, r *receiver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	passed := now.Sub(p.at)
	switch {
	case p.quiet || r.reader == nil || p.terminal && passed < lineEvery || !p.terminal && passed < sayEvery:
		return
	case !p.terminal && (r.messages == p.messages || r.live && r.left == 0): // nothing is behind
		return
	}
	text := fmt.Sprintf("%d messages", r.messages)
	if r.audit == nil {
		text += fmt.Sprintf(", %d samples", r.shown)
	}
	text += fmt.Sprintf(", %.0f messages/s", float64(r.messages-p.messages)/passed.Seconds())
	if r.broker && r.position > 0 {
		if p.began == 0 {
			p.began = max(r.from(), r.first)
		}
		if r.left == 0 {
			text += ", all there is"
		} else if all := r.position - p.began + r.left; all > 0 {
			text += fmt.Sprintf(", %d %% of the stream", 100*(r.position-p.began)/all)
		}
	}
	p.at, p.messages = now, r.messages
	if !p.terminal {
		fmt.Fprintf(p.w, "fieldseal: %s\n", text)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	p.line = true
}
