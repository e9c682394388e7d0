package main

import (
	"os"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// home is the folder of this package; running are the simulators of the scripts,
// by the scripts' folders.
var (
	home    string
	running sync.Map
)

func TestMain(m *testing.M) {
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
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"config":       config,
			"plant":        plant,
			"sim":          simulator,
			"edit":         edit,
			"wait-status":  waitStatus,
			"wait-metrics": waitMetrics,
			"sigterm":      sigterm,
			"exits":        exits,
		},
	})
}
