package sim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// PayloadSize is the length of torque-log in bytes, encrypted or not.
const PayloadSize = 240

// payload is a value that the device encrypts itself: a COSE_Encrypt0 message
// under a key that the gateway never sees.
type payload struct {
	machine string
	key     []byte
	kid     []byte
	every   time.Duration
	due     time.Time
	plain   bool     // given out unencrypted
	current []byte   // as it is given out
	version uint16   // the counter register: moves with current
	served  [][]byte // distinct ones that were read in full
	history *history
	reader  watched // behind Modbus
}

func newPayload(machine string, now time.Time, every time.Duration) *payload {
	key := sha256.Sum256([]byte("simulated device key of " + machine))
	kid := sha256.Sum256(key[:])
	p := &payload{machine: machine, key: key[:], kid: kid[:8], every: every, due: now.Add(every)}
	p.renew()
	return p
}

// secret begins every plaintext of the machine's log.
func (p *payload) secret() string { return "TORQUE-LOG SECRET OF " + p.machine + ": " }

// at gives the payload of that time.
func (p *payload) at(now time.Time) []byte {
	if p.every > 0 && !now.Before(p.due) {
		p.due = now.Add(p.every)
		p.renew()
	}
	return p.current
}

// renew makes the next log and moves the counter.
func (p *payload) renew() {
	p.version++
	if p.plain {
		p.current = p.log(PayloadSize)
		return
	}
	overhead := len(p.seal(make([]byte, 100))) - 100
	p.current = p.seal(p.log(PayloadSize - overhead))
}

// log is a plaintext of that length.
func (p *payload) log(size int) []byte {
	b := []byte(fmt.Sprintf("%sscrew %d", p.secret(), p.version))
	for i := 0; len(b) < size; i++ {
		b = append(b, fmt.Sprintf(" %d.%d", 12+(i*7+int(p.version))%9, i%10)...)
	}
	return b[:size]
}

// seal gives the tagged COSE_Encrypt0 (RFC 9052, 5.2).
func (p *payload) seal(plain []byte) []byte {
	protected := must(cbor.Marshal(map[int]any{1: 3, 4: p.kid})) // A256GCM
	iv := make([]byte, 12)
	_, _ = rand.Read(iv) // never fails
	aad := must(cbor.Marshal([]any{"Encrypt0", protected, []byte{}}))
	return must(cbor.Marshal(cbor.Tag{Number: 16, Content: []any{
		protected, map[int]any{5: iv}, p.gcm().Seal(nil, iv, plain, aad),
	}}))
}

func (p *payload) gcm() cipher.AEAD { return must(cipher.NewGCM(must(aes.NewCipher(p.key)))) }

// open is seal's inverse, as the receiver in the device maker's service has it.
func (p *payload) open(message []byte) ([]byte, error) {
	var tag cbor.Tag
	if err := cbor.Unmarshal(message, &tag); err != nil {
		return nil, err
	}
	parts, ok := tag.Content.([]any)
	if !ok || tag.Number != 16 || len(parts) != 3 {
		return nil, fmt.Errorf("no COSE_Encrypt0")
	}
	protected, _ := parts[0].([]byte)
	header, _ := parts[1].(map[any]any)
	iv, _ := header[uint64(5)].([]byte)
	sealed, _ := parts[2].([]byte)
	if len(iv) != 12 {
		return nil, fmt.Errorf("no IV")
	}
	return p.gcm().Open(nil, iv, sealed, must(cbor.Marshal([]any{"Encrypt0", protected, []byte{}})))
}

// gaveOut notes that a reader has the current payload.
func (p *payload) gaveOut(b []byte) {
	if n := len(p.served); n == 0 || !bytes.Equal(p.served[n-1], b) {
		p.served = append(p.served, bytes.Clone(b))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("sim: " + err.Error())
	}
	return v
}
