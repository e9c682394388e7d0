package opcua_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// openAnswer is the start of an OpenSecureChannel answer.
func openAnswer(policy string, cert []byte) []byte {
	b := append([]byte("OPNF\x00\x00\x00\x00"), 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(policy)))
	b = append(b, policy...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(cert)))
	b = append(b, cert...)
	b = binary.LittleEndian.AppendUint32(b, 20)
	b = append(b, make([]byte, 40)...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	return b
}

// FuzzGate: whatever a server sends, a gate neither panics nor lets an
// OpenSecureChannel answer pass that names another policy or certificate.
func FuzzGate(f *testing.F) {
	pinned := client.Certificate
	f.Add(openAnswer(policyURI, pinned))
	f.Add(openAnswer("http://opcfoundation.org/UA/SecurityPolicy#None", nil))
	f.Add(openAnswer(policyURI, append(bytes.Clone(pinned), pinned...)))
	f.Add([]byte("OPNF\x10\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Add([]byte("ERRF\x10\x00\x00\x00\x00\x00\x80\x80\xff\xff\xff\xff"))
	f.Add(append([]byte("ACKF\x1c\x00\x00\x00"), bytes.Repeat([]byte{0xff}, 20)...))
	good := openAnswer(policyURI, pinned)
	prefix := good[12 : 12+4+len(policyURI)]
	f.Fuzz(func(t *testing.T, chunk []byte) {
		if len(chunk) < 8 {
			return // pass reads that much before it asks
		}
		err := opcua.Judge(policyURI, pinned, chunk)
		if err != nil || !bytes.HasPrefix(chunk, []byte("OPN")) {
			return
		}
		if !bytes.HasPrefix(chunk[12:], prefix) || !bytes.Contains(chunk, pinned) {
			t.Fatalf("passed: %q", chunk)
		}
	})
}
