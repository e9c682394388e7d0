//go:build interop

package interop

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// mixerYAML maps the nodes of nodeopcua/server.js.
const mixerYAML = `fieldseal: machine/v1
machine: %s
about: batch mixer
opcua:
  endpoint: %s
  security: {policy: %s, mode: SignAndEncrypt}
  server_certificate: "sha256:%x"
  certificate: keystore:opcua-client
  user: {name: operator, password: "credential:%s"}
  namespace: %s
poll: {normal: 250ms}
points:
  - {name: counter, node: s=Line1.Counter, type: uint32, sensitivity: restricted}
  - {name: recipe, node: s=Line1.Recipe.Name, type: string, max_bytes: 64, sensitivity: restricted}
  - {name: recipe-step, node: i=7013, type: int32}
  - {name: nameplate, node: s=Nameplate, type: string, max_bytes: 64, sensitivity: public}
  - {name: running, node: s=Line1.Mixer.Running, type: bool, sensitivity: internal}
  - {name: motor-speed, node: s=Line1.Mixer.Speed, type: float64, unit: 1/min, sensitivity: internal}
  - {name: drive-speed, node: 's="DB_Drv"."Drv"[1]', type: float32, unit: 1/min, sensitivity: internal}
  - {name: batch, node: s=UInt64, type: uint64, sensitivity: internal}
  - {name: missing, node: s=Missing, type: int32, sensitivity: internal}
  - name: sealed-log
    node: s=SealedLog
    type: bytes
    max_bytes: 1024
    passthrough: cose
    readable_by: [process-engineering]
    sensitivity: restricted
`

// mixer is how a machine behind a nodeOPCUA is described.
type mixer struct {
	name, endpoint, policy, credential, namespace string

	pin [32]byte
}

func (m mixer) yaml() string {
	return fmt.Sprintf(mixerYAML, m.name, m.endpoint, m.policy, m.pin, m.credential, m.namespace)
}

// sealedLog is a COSE_Encrypt0 (RFC 9052, 5.2), as a machine makes it that
// encrypts by itself. The key is nobody's.
func sealedLog(t testing.TB) []byte {
	t.Helper()
	protected, err := cbor.Marshal(map[int]any{1: 3, 4: []byte("mixer-1")}) // A256GCM
	require.NoError(t, err)
	random := make([]byte, 212)
	_, _ = rand.Read(random) // never fails
	log, err := cbor.Marshal(cbor.Tag{Number: 16, Content: []any{protected, map[int]any{5: random[:12]}, random[12:]}})
	require.NoError(t, err)
	return log
}

// trustedBy has the servers trust the gateway's certificate, as an engineer does
// with what keys export gives him.
func (s *site) trustedBy(servers ...*nodeOPCUA) {
	s.t.Helper()
	block, _ := pem.Decode([]byte(must(s.t, "keys", "export", "opcua-client", "-c", s.path("gateway.yaml"))))
	require.NotNil(s.t, block)
	for _, server := range servers {
		require.NoError(s.t, os.WriteFile(server.options.Trust, block.Bytes, 0o600))
		server.tell("trust")
	}
}

// startMixers starts a server that lets in who has the gateway's certificate,
// once it is there, and a password.
func startMixers(t testing.TB, policy, password, secret, plate string, sealed []byte) *nodeOPCUA {
	t.Helper()
	return startNodeOPCUA(t, func(o *nodeOPCUAOptions) {
		o.Policies, o.Modes = []string{policy}, []string{"SignAndEncrypt"}
		o.Trust = filepath.Join(o.Folder, "late.der")
		o.Password, o.Canary, o.Plate, o.Sealed = password, secret, plate, sealed
	})
}
