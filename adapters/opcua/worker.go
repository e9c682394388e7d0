package opcua

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// WorkerWord is the first argument of a program that is executed as a worker.
const WorkerWord = "opcua-worker"

const (
	memoryLimit = 256 << 20 // of data, enforced by the system
	stackLimit  = 32 << 20
	sendLimit   = 4 << 20 // what may wait for the pool
	beatEvery   = 5 * time.Second
	lastWords   = 3 * time.Second // that a worker has after its stdin ended
)

// IsWorker tells whether the program was executed as a worker. Every program
// that makes a [Pool] asks this first, and if so does nothing but
//
//	os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
func IsWorker(args []string) bool { return len(args) == 2 && args[1] == WorkerWord }

// WorkerMain is the life of a worker: it does what stdin says, tells on stdout
// what it reads, and ends when stdin does. It gives the exit code.
func WorkerMain(stdin io.Reader, stdout io.Writer) int {
	if err := confine(); err != nil {
		return 3
	}
	// What stops the gateway's whole group, as Ctrl-C and systemd do, is the
	// gateway's to answer: a worker ends when its stdin does.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	log.SetOutput(io.Discard) //nolint:forbidigo // the library writes to it; here is no other logger
	w := &worker{endpoints: map[uint32]*endpoint{}, out: newSender(sendLimit)}
	if err := w.run(stdin, stdout); err != nil {
		return 1
	}
	return 0
}

// confine gives up what a worker does not need, before anything hostile is read.
func confine() error {
	debug.SetMaxStack(stackLimit)
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(memoryLimit / 2)
	if err := confineProcess(); err != nil {
		return fmt.Errorf("cannot confine the worker: %w", err)
	}
	return nil
}

// worker holds the endpoints of one worker process.
type worker struct {
	out       *sender
	endpoints map[uint32]*endpoint
	wait      sync.WaitGroup
}

// run follows the pool's frames.
func (w *worker) run(stdin io.Reader, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	writer.Go(func() {
		_ = w.out.run(stdout)
		cancel() // nobody listens any more
	})
	writer.Go(func() { beat(ctx, w.out, beatEvery) })
	err := w.follow(ctx, bufio.NewReader(stdin))
	cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.wait.Wait()
		w.out.close()
		writer.Wait()
	}()
	// What a server made spin is left behind: with the process it ends, and so do
	// the key and the password that it holds.
	late := time.NewTimer(lastWords)
	defer late.Stop()
	select {
	case <-over:
	case <-late.C:
	}
	return err
}

func (w *worker) follow(ctx context.Context, in io.Reader) error {
	for {
		b, err := readFrame(in, maxToWorker)
		if err == io.EOF { //nolint:errorlint // a frame that ends early is another error
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.obey(ctx, b); err != nil {
			return err
		}
	}
}

// obey does what one frame says.
func (w *worker) obey(ctx context.Context, b []byte) error {
	p := &parser{b: b}
	k, number := kind(p.u8()), p.u32()
	e := w.endpoints[number]
	if k == frameOpen {
		o, err := parseOpen(p)
		if err != nil || e != nil {
			return errFrame
		}
		ctx, cancel := context.WithCancel(ctx)
		e = newEndpoint(number, o, w.out)
		e.cancel = cancel
		w.endpoints[number] = e
		w.wait.Go(func() { e.run(ctx) })
		return nil
	}
	if e == nil {
		return errFrame
	}
	switch k {
	case frameClose:
		e.cancel()
		delete(w.endpoints, number)
		return p.end()
	case frameAttach:
		id, m, err := parseAttach(p)
		if err == nil {
			e.attach(id, m)
		}
		return err
	case frameDetach:
		e.detach(p.u32())
		return p.end()
	case frameRefresh:
		e.refreshLater(p.u32())
		return p.end()
	}
	return errFrame
}
