// Package ciphertext judges whether a payload that a device claims to have
// encrypted is what it claims to be. It judges and never changes; it has no key
// that opens anything.
//
// A [Guard] watches one point. It checks the structure of the declared format,
// which is never guessed, and then the statistics of the ciphertext inside:
// those of one payload, and those of a payload among the ones before it.
// docs/ciphertext.md says what is found, what is not, and what a device that
// stops encrypting can let out before it is caught.
package ciphertext

import (
	"errors"
	"unicode/utf8"
)

// The formats.
const (
	COSE   = "cose"   // COSE_Encrypt0 or COSE_Encrypt, tagged, perhaps in a COSE_Sign1
	JWE    = "jwe"    // in compact serialisation
	CMS    = "cms"    // EnvelopedData or AuthEnvelopedData, in DER
	Age    = "age"    // v1, binary
	Opaque = "opaque" // no structure: bytes that must look random
)

// Formats lists the formats.
func Formats() []string { return []string{COSE, JWE, CMS, Age, Opaque} }

// ContentType gives the media type of a format's payloads.
func ContentType(format string) string {
	switch format {
	case COSE:
		return "application/cose"
	case JWE:
		return "application/jose"
	case CMS:
		return "application/cms"
	case Age:
		return "application/age"
	default:
		return "application/octet-stream"
	}
}

// Why a payload of any format is refused.
var (
	errFormat   = errors.New("a format that is not known")
	errTrailing = errors.New("bytes follow where it should end")
	errShort    = errors.New("too short to be told from plaintext in a format without structure")
	errTextIV   = errors.New("the IV is readable text")
	errOther    = errors.New("what stands where keys, tags or signatures should be is not random")
	errAlone    = errors.New("a format without structure is not judged by one payload alone")
)

// Judge answers nil where payload alone could be ciphertext of the declared
// format. The error says what is wrong in words that hold nothing of the
// payload. A [Guard] sees more.
func Judge(format string, payload []byte) error {
	if format == Opaque {
		return errAlone
	}
	var p parts
	if err := p.parse(format, payload); err != nil {
		return err
	}
	_, err := p.judge()
	return err
}

// parts is what a payload of a known format is made of. Its slices point into
// the payload or into its own buffers, which serve again for the next payload.
type parts struct {
	body    []byte // the ciphertext, without its tag where that stands apart
	tag     []byte // of authentication; nil where it is not known
	iv      []byte // nil where it is not known
	partial bool   // the IV is a partial one: a counter
	oneKey  bool   // kid, or the device itself, names the key that the IV must be new for
	kid     []byte
	sign    signed

	fixed   uint64 // a sum over what should be the same in all messages: algorithms, names of keys
	other   []byte // what looks random in each: encrypted keys, ephemeral ones, tag, signature
	decoded []byte // of text formats
}

// keep notes something that should be the same in all messages, in any order:
// maps have none. It is a hash that two values share by accident only (FNV-1a,
// and the last steps of MurmurHash3, so that sums of it mean something).
func (p *parts) keep(kind int64, b []byte) {
	const prime = 1099511628211
	h := (uint64(14695981039346656037) ^ uint64(kind)) * prime
	for _, c := range b {
		h = (h ^ uint64(c)) * prime
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	p.fixed += h ^ h>>33
}

// scatter notes something that looks random in each message.
func (p *parts) scatter(b []byte) { p.other = append(p.other, b...) }

// split takes a ciphertext with its tag at the end.
func (p *parts) split(sealed []byte, tag int) {
	at := len(sealed) - tag
	p.body, p.tag = sealed[:at:at], sealed[at:]
	p.scatter(p.tag)
}

// parse takes a payload of the declared format.
func (p *parts) parse(format string, payload []byte) error {
	*p = parts{other: p.other[:0], decoded: p.decoded[:0]}
	switch format {
	case COSE:
		return parseCOSE(payload, p)
	case JWE:
		return parseJWE(payload, p)
	case CMS:
		return parseCMS(payload, p)
	case Age:
		return parseAge(payload, p)
	case Opaque:
		if len(payload) < leastRaw {
			return errShort
		}
		p.body = payload
		return nil
	default:
		return errFormat
	}
}

// judge runs the statistics of one payload on all that should look random.
func (p *parts) judge() (soft bool, err error) {
	soft, err = judgeBody(p.body)
	if err != nil {
		return soft, err
	}
	if len(p.iv) >= leastPrint && isPrintable(p.iv) {
		return soft, errTextIV
	}
	if o := p.other; len(o) >= leastRaw && utf8.Valid(o) || hasTextRun(o) || repeatsBlock(o) || isSkewed(o, limitBits) {
		return soft, errOther
	}
	return soft, nil
}
