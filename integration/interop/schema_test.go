//go:build interop

package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs/schema"
)

const languageServer = "yamlls/node_modules/yaml-language-server"

// TestSchemasInEditor opens files in the language server that editors use: what is
// fine has no mark, a slip has one at its line, and a key says what it means where
// it is written.
func TestSchemasInEditor(t *testing.T) {
	e := openEditor(t)
	examples := os.DirFS("../../configs/examples")
	require.NoError(t, os.CopyFS(e.folder, examples))
	for _, c := range []struct {
		file, old, new string // old → new is the slip
		want           string // in the message
		hover          string // a key of the file
		says           string
	}{
		{"machines/press-3.yaml", "at: input/12", "att: input/12", "att", "changes_with", "a counter register"},
		{"machines/mixer-4.yaml", "mode: SignAndEncrypt", "mode: SignAndEncript", "SignAndEncrypt", "server_certificate", "fingerprint of the server's certificate"},
		{"machines/press-4.yaml", "unit_id: 1", "unit: 1", "unit", "override", "different from its template"},
		{"machines/hotrunners.yaml", "n: 1..40", "n: 1-40", "pattern", "template", "with its version"},
		{"templates/press-400t.yaml", "version: 3", "version: three", "integer", "vendor_list", "The vendor's list"},
		{"policy.yaml", "if_readable: seal", "if_readable: sael", "seal", "exceptions", "Permissions to be less secure"},
		{"trust.yaml", "until: 2028-12-31", "until: 31.12.2028", "pattern", "recipients", "Who can open data"},
		{"gateway.yaml", "max_size: 512MiB", "max_size: 512", "string", "outbox", "The durable queue"},
	} {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(e.folder, c.file))
			require.NoError(t, err)
			good := strings.NewReplacer(
				"ed25519:AAAA...", "ed25519:"+strings.Repeat("A", 43)+"=", "0000...", strings.Repeat("0", 64), "9f2c...", strings.Repeat("9f2c", 16),
			).Replace(string(b))
			assert.Empty(t, e.open(t, c.file, good), "what is fine")

			bad := strings.Replace(good, c.old, c.new, 1)
			require.NotEqual(t, good, bad)
			line := 1 + strings.Count(bad[:strings.Index(bad, c.new)], "\n")
			marks := e.open(t, "bad-"+filepath.Base(c.file), bad)
			if assert.NotEmpty(t, marks, "a slip") {
				assert.Equal(t, line, marks[0].Range.Start.Line+1)
				assert.Contains(t, marks[0].Message, c.want)
			}
			assert.Contains(t, e.hover(t, c.file, good, c.hover), c.says)
		})
	}
}

// editor speaks the Language Server Protocol over the standard streams.
type editor struct {
	folder string
	in     io.WriteCloser

	mu      sync.Mutex
	next    int
	answers map[int]chan json.RawMessage
	marks   map[string]chan []mark // by the document's address
}

type mark struct {
	Message string `json:"message"`
	Range   struct {
		Start struct {
			Line int `json:"line"`
		} `json:"start"`
	} `json:"range"`
}

// openEditor starts the server as an editor does that fetches schemas for it: it is
// asked for the addresses that the files' first lines name.
func openEditor(t *testing.T) *editor {
	t.Helper()
	require.DirExists(t, languageServer, "run integration/interop/install.sh")
	e := &editor{folder: t.TempDir(), answers: map[int]chan json.RawMessage{}, marks: map[string]chan []mark{}}
	cmd := exec.Command("node", filepath.Join(languageServer, "bin", "yaml-language-server"), "--stdio")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, w, err := os.Pipe()
	require.NoError(t, err)
	e.in, cmd.Stdout = in, w
	start(t, "yaml-language-server", cmd)
	require.NoError(t, w.Close())
	t.Cleanup(func() { _ = in.Close() })
	go e.read(bufio.NewReader(out))

	var about struct{ Version string }
	b, err := os.ReadFile(filepath.Join(languageServer, "package.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &about))
	ran("yaml-language-server", about.Version)

	e.ask(t, "initialize", map[string]any{
		"processId": os.Getpid(), "rootUri": address(e.folder),
		"capabilities": map[string]any{"textDocument": map[string]any{"hover": map[string]any{"contentFormat": []string{"plaintext"}}}},
	})
	e.say(t, "initialized", map[string]any{})
	e.say(t, "yaml/registerContentRequest", map[string]any{})
	return e
}

func address(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// open gives a document to the server, and waits for what it says of it.
func (e *editor) open(t *testing.T, file, text string) []mark {
	t.Helper()
	require.True(t, strings.HasPrefix(text, "# yaml-language-server: $schema="+schema.Base), "%s names no schema", file)
	at := address(filepath.Join(e.folder, file))
	said := make(chan []mark, 64)
	e.mu.Lock()
	e.marks[at] = said
	e.mu.Unlock()
	e.say(t, "textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": at, "languageId": "yaml", "version": 1, "text": text,
	}})
	select {
	case marks := <-said:
		return marks
	case <-e.late(t):
		t.Fatalf("the language server says nothing of %s", file)
		return nil
	}
}

func (e *editor) late(t *testing.T) <-chan struct{} {
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	t.Cleanup(cancel)
	return ctx.Done()
}

// hover gives what the server shows over the first place of a key.
func (e *editor) hover(t *testing.T, file, text, key string) string {
	t.Helper()
	for n, line := range strings.Split(text, "\n") {
		k := strings.Index(line, key+":")
		if k < 0 || strings.Contains(line[:k], "#") {
			continue
		}
		answer := e.ask(t, "textDocument/hover", map[string]any{
			"textDocument": map[string]any{"uri": address(filepath.Join(e.folder, file))},
			"position":     map[string]any{"line": n, "character": len([]rune(line[:k])) + 1},
		})
		return string(answer)
	}
	t.Fatalf("%s has no key %s", file, key)
	return ""
}

// ask sends a request and waits for its answer.
func (e *editor) ask(t *testing.T, method string, params any) json.RawMessage {
	t.Helper()
	e.mu.Lock()
	e.next++
	id, answer := e.next, make(chan json.RawMessage, 1)
	e.answers[id] = answer
	e.mu.Unlock()
	e.send(t, map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	select {
	case a := <-answer:
		return a
	case <-e.late(t):
		t.Fatalf("no answer to %s", method)
		return nil
	}
}

func (e *editor) say(t *testing.T, method string, params any) {
	t.Helper()
	e.send(t, map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
}

func (e *editor) send(t *testing.T, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	_, err = fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(b), b)
	require.NoError(t, err)
}

// read takes what the server says until it ends.
func (e *editor) read(r *bufio.Reader) {
	for {
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(n)
			}
		}
		b := make([]byte, length)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		e.hear(b)
	}
}

// hear takes one thing that the server says.
func (e *editor) hear(b []byte) {
	var m struct {
		ID     json.RawMessage
		Method string
		Result json.RawMessage
		Params json.RawMessage
	}
	_ = json.Unmarshal(b, &m)
	switch {
	case m.Method == "textDocument/publishDiagnostics":
		var p struct {
			URI         string
			Diagnostics []mark
		}
		_ = json.Unmarshal(m.Params, &p)
		e.mu.Lock()
		said := e.marks[p.URI]
		e.mu.Unlock()
		if said != nil {
			said <- p.Diagnostics
		}
	case m.Method != "" && m.ID != nil:
		answer, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": answer(m.Method, m.Params)})
		_, _ = fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(answer), answer)
	case m.Method == "":
		var id int
		_ = json.Unmarshal(m.ID, &id)
		e.mu.Lock()
		waiting := e.answers[id]
		e.mu.Unlock()
		if waiting != nil {
			waiting <- m.Result
		}
	}
}

// answer gives what an editor answers to the server: the schema of an address, and
// the default for each setting.
func answer(method string, params json.RawMessage) any {
	if method == "vscode/content" {
		var at [1]string
		_ = json.Unmarshal(params, &at)
		kind := strings.TrimSuffix(strings.TrimPrefix(at[0], schema.Base), "-v1.json")
		if b, err := schema.JSON(kind); err == nil {
			return string(b)
		}
		return ""
	}
	var p struct{ Items []any }
	_ = json.Unmarshal(params, &p)
	return make([]any, len(p.Items))
}
