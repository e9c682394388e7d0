package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The vectors are the test of whoever implements docs/format.md; their
// README.md describes the JSON. They are made here: `make vectors`, or
//
//	go test ./bridge/envelope -run '^TestVectors$' -args write

const vectorFolder = "testdata/vectors"

// vector is one file before it is written.
type vector struct {
	name, about string
	fault       string // what is wrong in it; empty: nothing
	reader      string // name of the identity, "" for none
	trust       *Trust // nil: nothing is verified
	now         bool
	trimmed     bool
	clock       int64
	feed        []Message

	// What must come out, written down here and not taken from a run.
	delivers []uint64
	verdicts []string
}

// TestVectors holds the files to what this code makes of the same keys and
// numbers, and this code to what the files expect.
func TestVectors(t *testing.T) {
	write := os.Args[len(os.Args)-1] == "write"
	made := map[string]bool{"README.md": true}
	for _, r := range allVectors() {
		v := seeded(t, r)
		t.Run(v.name, func(t *testing.T) {
			require.False(t, made[v.name+".json"], "two vectors of one name")
			made[v.name+".json"] = true
			content := v.encode(t)
			path := filepath.Join(vectorFolder, v.name+".json")
			if write {
				require.NoError(t, os.WriteFile(path, content, 0o644))
				return
			}
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			if madeWith(t, file) == runtime.Version() {
				assert.Equal(t, string(file), string(content), "not current: make vectors")
			}
			replay(t, file)
		})
	}
	there, err := filepath.Glob(filepath.Join(vectorFolder, "*"))
	require.NoError(t, err)
	for _, path := range there {
		if !made[filepath.Base(path)] && write {
			require.NoError(t, os.Remove(path))
		}
		assert.True(t, write || made[filepath.Base(path)], "%s is made by nothing", path)
	}
}

// seeded builds a vector with randomness that its name gives: the same keys,
// encapsulations and IVs each time, as long as the Go version is the same.
func seeded(t *testing.T, r recipe) *vector {
	sum := sha256.Sum256([]byte(r.name))
	cryptotest.SetGlobalRandom(t, binary.BigEndian.Uint64(sum[:]))
	m := &maker{t: t, vector: vector{name: r.name}}
	r.build(m)
	return &m.vector
}

func madeWith(t *testing.T, file []byte) string {
	var f vectorFile
	require.NoError(t, json.Unmarshal(file, &f))
	return f.MadeWith
}

// The JSON. Numbers that may pass 2^53 are strings.
type (
	vectorFile struct {
		Name       string           `json:"name"`
		About      string           `json:"about"`
		Fault      string           `json:"fault"`
		MadeWith   string           `json:"made_with"`
		Trust      *vectorTrust     `json:"trust"`
		Identities []vectorIdentity `json:"identities"`
		Reader     vectorReader     `json:"reader"`
		Messages   []vectorMessage  `json:"messages"`
		Expect     vectorExpect     `json:"expect"`
	}
	vectorTrust struct {
		Gateways []vectorGateway `json:"gateways"`
	}
	vectorGateway struct {
		Name string      `json:"name"`
		Keys []vectorKey `json:"keys"`
	}
	vectorKey struct {
		Kid    string  `json:"kid"`
		Public string  `json:"public"`
		Until  *string `json:"until"`
	}
	vectorIdentity struct {
		Name    string `json:"name"`
		Alg     int    `json:"alg"`
		Kid     string `json:"kid"`
		Public  string `json:"public"`
		Private string `json:"private"`
		File    string `json:"file"`
	}
	vectorReader struct {
		Now     bool   `json:"now"`
		Trimmed bool   `json:"trimmed"`
		Clock   string `json:"clock"`
	}
	vectorEpoch struct {
		Start    uint64 `json:"start"`
		Instance string `json:"instance"`
		Number   uint32 `json:"number"`
	}
	vectorMessage struct {
		Gateway     string      `json:"gateway"`
		Machine     string      `json:"machine"`
		Level       string      `json:"level"`
		Kind        string      `json:"kind"`
		Point       string      `json:"point"`
		Epoch       vectorEpoch `json:"epoch"`
		Sequence    uint64      `json:"sequence"`
		ContentType string      `json:"content_type"`
		Time        string      `json:"time"`
		ID          string      `json:"id"`
		Body        string      `json:"body"`

		Refused  *string  `json:"refused"`
		Delivers []uint64 `json:"delivers"`
	}
	vectorExpect struct {
		Verdicts   []string               `json:"verdicts"`
		Deliveries []vectorDelivery       `json:"deliveries"`
		Streams    []vectorStream         `json:"streams"`
		Gateways   []vectorGatewayVerdict `json:"gateways"`
	}
	vectorDelivery struct {
		Machine     string         `json:"machine"`
		Level       string         `json:"level"`
		Epoch       vectorEpoch    `json:"epoch"`
		Sequence    uint64         `json:"sequence"`
		Kind        string         `json:"kind"`
		Point       string         `json:"point"`
		ContentType string         `json:"content_type"`
		Time        string         `json:"time"`
		Proof       string         `json:"proof"`
		Sealed      bool           `json:"sealed"`
		Unopened    bool           `json:"unopened"`
		Base        string         `json:"base"`
		Samples     []vectorSample `json:"samples"`
		Catalogue   []vectorEntry  `json:"catalogue"`
		Payload     *string        `json:"payload"`
	}
	vectorSample struct {
		Name    string `json:"name"`
		Unit    string `json:"unit"`
		Time    string `json:"time"`
		Quality uint32 `json:"quality"`
		Kind    string `json:"kind"`
		Value   any    `json:"value"`
	}
	vectorEntry struct {
		Name  string            `json:"name"`
		ID    string            `json:"id"`
		Unit  string            `json:"unit"`
		Texts map[int64]string  `json:"texts"`
		Tags  map[string]string `json:"tags"`
	}
	vectorLoss struct {
		Epoch  vectorEpoch `json:"epoch"`
		First  uint64      `json:"first"`
		Last   uint64      `json:"last"`
		Reason string      `json:"reason"`
		Time   string      `json:"time"`
	}
	vectorForgery struct {
		Sequence uint64 `json:"sequence"`
		Class    string `json:"class"`
	}
	vectorStream struct {
		Machine       string          `json:"machine"`
		Level         string          `json:"level"`
		Highest       uint64          `json:"highest"`
		SignedThrough uint64          `json:"signed_through"`
		Trimmed       uint64          `json:"trimmed"`
		Gaps          [][2]uint64     `json:"gaps"`
		Withheld      [][2]uint64     `json:"withheld"`
		Stated        uint64          `json:"stated"`
		Losses        []vectorLoss    `json:"losses"`
		Forgeries     []vectorForgery `json:"forgeries"`
		Pending       int             `json:"pending"`
		NoKeyFrame    int             `json:"no_key_frame"`
		Unopened      uint64          `json:"unopened"`
		Duplicates    uint64          `json:"duplicates"`
	}
	vectorGatewayVerdict struct {
		Gateway   string `json:"gateway"`
		Statement uint64 `json:"statement"`
		Time      string `json:"time"`
		Clock     string `json:"clock"`
		Policy    string `json:"policy"`
		AuditSize uint64 `json:"audit_size"`
		AuditHead string `json:"audit_head"`
		Interval  int64  `json:"interval_ms"`
		Proof     string `json:"proof"`
		Silent    bool   `json:"silent"`
	}
)

func ns(n int64) string { return strconv.FormatInt(n, 10) }

func jsonEpoch(e Epoch) vectorEpoch {
	return vectorEpoch{e.Start, hex.EncodeToString(e.Instance[:]), e.Number}
}

// encode writes the vector, after this code gave the verdicts written down.
func (v *vector) encode(t *testing.T) []byte {
	f := vectorFile{
		Name: v.name, About: v.about, Fault: v.fault, MadeWith: runtime.Version(), Identities: []vectorIdentity{},
		Reader: vectorReader{v.now, v.trimmed, ns(v.clock)},
	}
	if v.trust != nil {
		f.Trust = &vectorTrust{Gateways: []vectorGateway{}}
		for name, keys := range v.trust.Gateways {
			g := vectorGateway{Name: name}
			for _, k := range keys {
				key := vectorKey{Kid: SigningKeyID(k.Public).String(), Public: hex.EncodeToString(k.Public)}
				if !k.Until.IsZero() {
					until := ns(k.Until.UnixNano())
					key.Until = &until
				}
				g.Keys = append(g.Keys, key)
			}
			f.Trust.Gateways = append(f.Trust.Gateways, g)
		}
		slices.SortFunc(f.Trust.Gateways, func(a, b vectorGateway) int { return strings.Compare(a.Name, b.Name) })
	}
	if v.reader != "" {
		id := knownIdentity(t, v.reader)
		private, err := id.key.Bytes()
		require.NoError(t, err)
		f.Identities = append(f.Identities, vectorIdentity{
			v.reader, int(id.recipient.alg), id.recipient.ID().String(), hex.EncodeToString(id.recipient.key.Bytes()),
			hex.EncodeToString(private), string(id.Marshal()),
		})
	}
	for i := range v.feed {
		m := &v.feed[i]
		f.Messages = append(f.Messages, vectorMessage{
			Gateway: m.Address.Stream.Gateway, Machine: m.Address.Stream.Machine, Level: m.Address.Stream.Level,
			Kind: m.Address.Kind.String(), Point: m.Address.Point, Epoch: jsonEpoch(m.Epoch), Sequence: m.Sequence,
			ContentType: m.ContentType, Time: ns(m.Time), ID: hex.EncodeToString(m.ID[:]), Body: base64.StdEncoding.EncodeToString(m.Body),
		})
	}
	f.Expect = run(t, &f)
	assert.Equal(t, v.verdicts, f.Expect.Verdicts, "verdicts")
	var delivered []uint64
	for i := range f.Expect.Deliveries {
		delivered = append(delivered, f.Expect.Deliveries[i].Sequence)
	}
	assert.Equal(t, v.delivers, delivered, "deliveries")
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	require.NoError(t, e.Encode(&f))
	return b.Bytes()
}

// jsonValue gives a value as the files do: numbers of 64 bits as text.
func jsonValue(v Value) any {
	switch v.Kind() {
	case Bool:
		return v.Bool()
	case Int, Time:
		return ns(v.Int())
	case Uint:
		return strconv.FormatUint(v.Uint(), 10)
	case Float:
		switch f := v.Float(); {
		case math.IsNaN(f):
			return "NaN"
		case math.IsInf(f, 1):
			return "Infinity"
		case math.IsInf(f, -1):
			return "-Infinity"
		default:
			return f
		}
	case Text:
		return string(v.Data())
	case Bytes:
		return base64.StdEncoding.EncodeToString(v.Data())
	}
	return nil
}

func unixNano(t *testing.T, s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return unixTime(n)
}
