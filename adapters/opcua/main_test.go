package opcua_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// TestMain makes the test program a worker where a pool executes it as one, and
// a simulator where a benchmark does.
func TestMain(m *testing.M) {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	if load := os.Getenv(simulatorProcess); load != "" {
		os.Exit(simulate(load))
	}
	goleak.VerifyTestMain(m)
}
