package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// home is the folder of this package; running are the simulators of the scripts,
// by the scripts' folders.
var (
	home    string
	running sync.Map
)

func TestMain(m *testing.M) {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	home, _ = os.Getwd()
	testscript.Main(m, map[string]func(){"fieldseal": main})
}

// Each script is one thing that a user does, or gets wrong, in the words that
// they type. Beside testscript's own commands there are those of plant_test.go.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("FIELDSEAL_CONFIG", "gateway.yaml")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"config":       config,
			"plant":        plant,
			"sim":          simulator,
			"mixer":        mixer,
			"edit":         edit,
			"approve":      approve,
			"approvers":    approvers,
			"fingerprint":  fingerprint,
			"variable":     variable,
			"wait-status":  waitStatus,
			"wait-metrics": waitMetrics,
			"signal":       signalAll,
			"exits":        exits,
		},
	})
}
