package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// mixer adds a simulated OPC UA machine, mixer-1, to the plant, with the password
// that it asks for. $PIN is the fingerprint of its certificate:
//
//	mixer
func mixer(ts *testscript.TestScript, _ bool, _ []string) {
	machines, err := sim.StartOPCUA(sim.OPCUAOptions{})
	ts.Check(err)
	ts.Defer(machines.Stop)
	ts.Setenv("PIN", fmt.Sprintf("%x", machines.Server().Fingerprint()))
	write(ts, "machines/mixer-1.yaml", []byte(strings.Replace(machines.YAML("mixer-1"), "process-engineering", "engineering", 1)))
	ts.Check(os.WriteFile(ts.MkAbs("state/credentials/opcua-password"), []byte(sim.OPCUAPassword+"\n"), 0o600))
	edit(ts, false, []string{"policy.yaml", "revision: 1", "revision: 2"}) // what is signed of machines changes
	edit(ts, false, []string{"policy.yaml", `"*/state"`, `"*/state", "*/public-counter"`})
	sign(ts)
}
