package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// deadline is how long a script waits for something to happen.
const deadline = 30 * time.Second

// config lays the files of testdata/plant into the script's folder, with keys
// of their own, for machines and servers that do not run:
//
//	config
//
// anna approves; or so many of some people, of whom the first has signed:
//
//	config THRESHOLD NAME...
func config(ts *testscript.TestScript, _ bool, args []string) {
	ca, err := natstest.NewCA("plant")
	ts.Check(err)
	ts.Setenv("SIM", "tcp://127.0.0.1:502")
	ts.Setenv("NATS", "tls://127.0.0.1:4222")
	if len(args) == 0 {
		args = []string{"1", "anna"}
	}
	lay(ts, ca, args[0], args[1:]...)
}

// plant does the same with two simulated machines and a NATS server that run
// until the end of the script. $SIM and $NATS are their addresses; reader.pem
// and reader.key are a consumer's certificate:
//
//	plant
func plant(ts *testscript.TestScript, _ bool, _ []string) {
	machines, err := sim.StartModbus(sim.ModbusOptions{Machines: 2})
	ts.Check(err)
	ts.Defer(machines.Stop)
	running.Store(ts.Getenv("WORK"), machines)
	server, err := natstest.New(natstest.Options{Folder: ts.MkAbs("jetstream")})
	ts.Check(err)
	ts.Defer(server.Close)
	ts.Check(server.AddStream("PLANT", nil, "plant.test.>"))
	ts.Setenv("SIM", machines.URL())
	ts.Setenv("NATS", server.URL())
	lay(ts, server.CA, "1", "anna")

	reader, err := server.CA.Issue("reader", natstest.Usual)
	ts.Check(err)
	certificate, key, err := natstest.PEM(reader)
	ts.Check(err)
	write(ts, "reader.pem", certificate)
	write(ts, "reader.key", key)
}

// lay writes the files and makes the keys, by the commands that a user types.
func lay(ts *testscript.TestScript, ca *natstest.CA, threshold string, approvers ...string) {
	ts.Check(os.CopyFS(ts.MkAbs("."), os.DirFS(filepath.Join(home, "testdata/plant"))))
	write(ts, "hub-ca.pem", ca.PEM())
	fill(ts, "gateway.yaml")
	gateway := "-c=" + ts.MkAbs("gateway.yaml")
	pin := []string{"keys", "init", gateway, "--threshold", threshold}
	for _, name := range approvers {
		fieldseal(ts, "keys", "approver", name, "-o", ts.MkAbs("."))
		pin = append(pin, "--approver", ts.MkAbs(name+".approver.pub"))
	}
	fieldseal(ts, pin...)
	// Exceptions count where the clock is synchronised, or was: not every machine
	// that runs tests has a time server.
	write(ts, "state/clock", fmt.Appendf(nil, `{"mark":%q,"policy":0}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	write(ts, "approvers", []byte(fieldseal(ts, "policy", "show", "--approvers", gateway)))
	ts.Setenv("SIGNING", strings.TrimSpace(fieldseal(ts, "keys", "export", "signing", gateway)))

	request, _ := pem.Decode([]byte(fieldseal(ts, "keys", "export", "uplink", "--request", gateway)))
	csr, err := x509.ParseCertificateRequest(request.Bytes)
	ts.Check(err)
	certificate, err := ca.Certify("gw-1", csr.PublicKey, natstest.Usual)
	ts.Check(err)
	write(ts, "uplink.pem", certificate)
	fieldseal(ts, "keys", "import", "uplink", ts.MkAbs("uplink.pem"), gateway)

	for _, name := range []string{"historian", "engineering"} {
		fieldseal(ts, "keys", "recipient", name, "-o", ts.MkAbs("."))
		sum := sha256.Sum256([]byte(ts.ReadFile(name + ".pub")))
		ts.Setenv(strings.ToUpper(name), hex.EncodeToString(sum[:]))
	}
	for _, name := range []string{"trust.yaml", "machines/press-1.yaml", "machines/press-2.yaml"} {
		fill(ts, name)
	}
	sign(ts)
}

// sign has anna sign policy and trust file as they stand.
func sign(ts *testscript.TestScript) {
	fieldseal(ts, "policy", "sign", "--yes", "--key", ts.MkAbs("anna.approver"), "-c", ts.MkAbs("gateway.yaml"))
}

// approvers writes a set of approvers whose keys are there:
//
//	approvers FILE REVISION THRESHOLD NAME...
func approvers(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: approvers FILE REVISION THRESHOLD NAME...")
	}
	text := "fieldseal approvers/v1\nrevision " + args[1] + "\nthreshold " + args[2] + "\n"
	for _, name := range args[3:] {
		text += "approver " + ts.ReadFile(name+".approver.pub")
	}
	write(ts, args[0], []byte(text))
}

// fingerprint sets a variable to the SHA-256 of a file:
//
//	fingerprint VARIABLE FILE
func fingerprint(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: fingerprint VARIABLE FILE")
	}
	sum := sha256.Sum256([]byte(ts.ReadFile(args[1])))
	ts.Setenv(args[0], hex.EncodeToString(sum[:]))
}

// variable sets a variable to the text of a file:
//
//	variable VARIABLE FILE
func variable(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: variable VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// approve raises the revisions of policy and trust file, and has anna sign them:
//
//	approve
func approve(ts *testscript.TestScript, _ bool, _ []string) {
	revision := regexp.MustCompile(`(?m)^revision: (\d+)`)
	for _, name := range []string{"policy.yaml", "trust.yaml"} {
		write(ts, name, revision.ReplaceAllFunc([]byte(ts.ReadFile(name)), func(b []byte) []byte {
			n, err := strconv.Atoi(strings.TrimPrefix(string(b), "revision: "))
			ts.Check(err)
			return []byte("revision: " + strconv.Itoa(n+1))
		}))
	}
	sign(ts)
}

// fill replaces the variables in a file.
func fill(ts *testscript.TestScript, name string) {
	write(ts, name, []byte(os.Expand(ts.ReadFile(name), ts.Getenv)))
}

func write(ts *testscript.TestScript, name string, b []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o600))
}

// fieldseal runs a command in this process.
func fieldseal(ts *testscript.TestScript, args ...string) string {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		ts.Fatalf("fieldseal %v: exit code %d: %s", args, code, stderr.String())
	}
	return stdout.String()
}

// simulator switches the simulated machines of plant off and on:
//
//	sim stop
//	sim start
func simulator(ts *testscript.TestScript, _ bool, args []string) {
	found, ok := running.Load(ts.Getenv("WORK"))
	if !ok || len(args) != 1 {
		ts.Fatalf("usage, after plant: sim stop|start")
	}
	machines := found.(*sim.Modbus)
	switch args[0] {
	case "stop":
		machines.Stop()
	case "start":
		ts.Check(machines.Start())
	default:
		ts.Fatalf("usage, after plant: sim stop|start")
	}
}

// edit replaces a text that is in a file once. \n is a line break:
//
//	edit FILE OLD NEW
func edit(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	content := ts.ReadFile(args[0])
	if n := strings.Count(content, args[1]); n != 1 {
		ts.Fatalf("%s has %q %d times", args[0], args[1], n)
	}
	write(ts, args[0], []byte(strings.Replace(content, args[1], strings.ReplaceAll(args[2], `\n`, "\n"), 1)))
}

// waitStatus waits until the output of fieldseal status matches, and leaves it
// in status.txt:
//
//	wait-status REGEXP
func waitStatus(ts *testscript.TestScript, _ bool, args []string) {
	await(ts, args, "status.txt", func() (string, error) {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), []string{"status", "-c", ts.MkAbs("gateway.yaml")}, nil, &stdout, &stderr); code != 0 {
			return "", errors.New(stderr.String())
		}
		return stdout.String(), nil
	})
}

// waitMetrics does the same with the metrics, in metrics.txt:
//
//	wait-metrics REGEXP
func waitMetrics(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", ts.MkAbs("metrics.sock"))
		},
	}}
	await(ts, args, "metrics.txt", func() (string, error) {
		resp, err := client.Get("http://gateway/metrics")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	})
}

func await(ts *testscript.TestScript, args []string, file string, look func() (string, error)) {
	if len(args) != 1 {
		ts.Fatalf("one regular expression, please")
	}
	want, err := regexp.Compile(`(?m)` + args[0])
	ts.Check(err)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		got, err := look()
		if err == nil && want.MatchString(got) {
			write(ts, file, []byte(got))
			return
		}
		select {
		case <-tick.C:
		case <-end:
			ts.Fatalf("%q was not seen within %v; the last answer: %v\n%s", args[0], deadline, err, got)
		}
	}
}

// signalAll sends a signal to what runs in the background:
//
//	signal TERM|HUP
func signalAll(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|HUP")
	}
	for _, c := range ts.BackgroundCmds() {
		if err := c.Process.Signal(signals[args[0]]); err != nil {
			ts.Fatalf("%v", fmt.Errorf("cannot signal %s: %w", c.Path, err))
		}
	}
}

// exits runs a command that has to end with an exit code:
//
//	exits CODE COMMAND [ARGUMENT...]
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}
