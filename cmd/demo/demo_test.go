package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// TestMain makes the test program the gateway's OPC UA worker where it is asked to
// be.
func TestMain(m *testing.M) {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// Over DTLS the line is the same as over NATS.
func TestDemo(t *testing.T) {
	for _, uplink := range []string{overNATS, overDTLS} {
		t.Run(uplink, func(t *testing.T) { demo(t, uplink) })
	}
}

func demo(t *testing.T, uplink string) {
	t.Helper()
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-for", "3s", "-json", "-uplink", uplink}, &out, &errs), errs.String())
	require.Equal(t, 1, strings.Count(out.String(), "\n"), "one line")
	var r map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	for _, used := range []string{"samples", "clear", "sealed", "passthrough", "opened"} {
		require.Greater(t, r[used], 0.0, used)
	}
	require.Equal(t, r["sealed"], r["opened"])
	require.Equal(t, r["samples"], r["gateway_signed"])
	require.Equal(t, true, r["passthrough_identical"])
	for _, never := range []string{"plaintext_seen_upstream", "lost", "duplicates", "held"} {
		require.Equal(t, 0.0, r[never], never)
	}
}

func TestDemoForPeople(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-for", "2500ms", "-machines", "1"}, &out, &errs), errs.String())
	require.Contains(t, out.String(), "what the broker stores")
	require.Contains(t, out.String(), "press-1.restricted.torque-log")
	require.Contains(t, out.String(), "mixer-1.restricted.torque-log")
	require.Contains(t, out.String(), "lost 0, duplicates 0")
}

// TestScanIsNotBlind holds that the scan for plaintext finds a secret once its
// point is released, whatever the protocol.
func TestScanIsNotBlind(t *testing.T) {
	for machine, point := range map[string]string{"press-1": "bytes: 32, ", "mixer-1": "ProgramName, type: string, max_bytes: 64, "} {
		t.Run(machine, func(t *testing.T) {
			r, err := show(t.Context(), flags{duration: 1500 * time.Millisecond, machines: 1}, io.Discard, hooks{edit: func(name, text string) string {
				switch name {
				case "policy.yaml":
					text = strings.ReplaceAll(text, `"*/nameplate"`, `"*/nameplate", "*/program-name"`)
					return strings.ReplaceAll(text, `"*/program*"`, `"*/recipe*"`)
				case "machines/" + machine + ".yaml":
					require.Equal(t, 1, strings.Count(text, point+"sensitivity: restricted"))
					return strings.Replace(text, point+"sensitivity: restricted", point+"sensitivity: public", 1)
				}
				return text
			}})
			require.NoError(t, err)
			require.Positive(t, r.PlaintextSeen)
			require.Equal(t, "plaintext of sealed points upstream", r.wrong())
		})
	}
}

func TestServeWritesAFolderToRunFrom(t *testing.T) {
	for _, uplink := range []string{overNATS, overDTLS} {
		t.Run(uplink, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "plant")
			p, err := startPlant(dir, flags{machines: 2, uplink: uplink}, nil)
			require.NoError(t, err)
			defer p.close()
			require.NoError(t, timeServer(dir))
			for _, name := range []string{"gateway.yaml", "policy.yaml", "trust.yaml", "machines/press-2.yaml", "machines/mixer-1.yaml", "keys/historian.pub", "reader.key"} {
				_, err := os.Stat(filepath.Join(dir, name))
				require.NoError(t, err)
			}
			out, err := exec.Command("go", "run", "../fieldseal", "check", "-c", filepath.Join(dir, "gateway.yaml")).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Contains(t, string(out), "fine: 3 machines")
		})
	}
}
