package modbus

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// serverProcess makes the test program a simulator and nothing else, so that a
// benchmark can tell the client's CPU time from the server's.
const serverProcess = "FIELDSEAL_TEST_SIMULATOR"

func TestMain(m *testing.M) {
	if os.Getenv(serverProcess) != "" {
		plant, err := sim.StartModbus(sim.ModbusOptions{Load: 500})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(plant.URL())
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the benchmark ends
		return
	}
	goleak.VerifyTestMain(m)
}
