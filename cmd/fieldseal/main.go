// Fieldseal is a gateway for plant floors: it polls machines, seals sensitive
// points at the boundary for the people who may read them, forwards what devices
// encrypted byte for byte, and delivers everything upstream.
//
// `fieldseal help` lists the commands. Exit codes: 0 done, 1 problems were
// found or the work failed, 2 the command could not be understood or could not
// look.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

func main() {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	closeUp()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
