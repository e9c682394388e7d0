// Demo shows the main job in one process, with the secure settings that a plant
// would use: simulated Modbus and OPC UA machines, a NATS server with TLS client
// certificates and JetStream, a gateway, and a recipient who opens what is meant
// for him. It prints side by side what the broker stores and what the recipient
// reads, and at the end holds what arrived against what the machines gave out.
// Only the gateway's OPC UA client has a process of its own, as it has in a
// plant.
//
//	go run ./cmd/demo                  for 15 s, for people
//	go run ./cmd/demo -for 10s -json   the result as one line of JSON
//	go run ./cmd/demo -uplink dtls     over DTLS to a hub, which stores at the same NATS server
//	go run ./cmd/demo -serve DIR       the simulated plant alone, with a folder to run a gateway from
//
// The exit code is 0 where everything arrived, once, sealed and signed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

type flags struct {
	duration time.Duration
	json     bool
	serve    string
	machines int
	uplink   string // one of uplinks
}

// uplinks are the ways upstream that the demo can show.
const (
	overNATS = "nats"
	overDTLS = "dtls"
	overBoth = "both"
)

// mixers is how many OPC UA machines there are.
func (f flags) mixers() int { return (f.machines + 1) / 2 }

func main() {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f flags
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.DurationVar(&f.duration, "for", 15*time.Second, "how long to poll; 0 until interrupted")
	set.BoolVar(&f.json, "json", false, "print only the result, as one line of JSON")
	set.StringVar(&f.serve, "serve", "", "run the simulated plant alone, and write a configuration for it into this new folder")
	set.IntVar(&f.machines, "machines", 3, "how many presses to simulate, which speak Modbus; there are half as many mixers, rounded up, which speak OPC UA")
	set.StringVar(&f.uplink, "uplink", overNATS, "how the gateway delivers: nats, dtls through a hub in this process, or both, where the hub stands by")
	if err := set.Parse(args); err != nil {
		return 2
	}
	if f.machines < 1 {
		fmt.Fprintln(stderr, "demo: -machines is 1 at least")
		return 2
	}
	if !slices.Contains([]string{overNATS, overDTLS, overBoth}, f.uplink) {
		fmt.Fprintf(stderr, "demo: -uplink %q; write %s, %s or %s\n", f.uplink, overNATS, overDTLS, overBoth)
		return 2
	}
	if f.serve != "" {
		if err := serve(ctx, f, stdout); err != nil {
			fmt.Fprintln(stderr, "demo:", err)
			return 1
		}
		return 0
	}
	view := stdout
	if f.json {
		view = io.Discard
	}
	r, err := show(ctx, f, view, hooks{})
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	}
	if f.json {
		if err := json.NewEncoder(stdout).Encode(r); err != nil {
			return 1
		}
	} else {
		r.print(stdout)
	}
	if bad := r.wrong(); bad != "" {
		fmt.Fprintln(stderr, "demo: not as it should be:", bad)
		return 1
	}
	return 0
}
