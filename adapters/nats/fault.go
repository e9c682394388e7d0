package nats

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// fault gives err as a fault if it will not mend without somebody changing a
// configuration, else nil.
func fault(err error) *envelope.Fault {
	var known *envelope.Fault
	if errors.As(err, &known) {
		return known
	}
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		record       tls.RecordHeaderError
		operation    *net.OpError
	)
	switch {
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		return &envelope.Fault{
			What: "the server's certificate is not accepted", Err: err,
			Instead: "trust the CA that signed it, use the host name that is in it, and see that this machine's clock is right",
		}
	case errors.Is(err, nats.ErrSecureConnWanted), errors.As(err, &record):
		return &envelope.Fault{
			What: "the server does not speak TLS on this port", Err: err,
			Instead: "switch TLS on there, or name its TLS port",
		}
	case errors.As(err, &operation) && operation.Op == "remote error":
		return rejected(err)
	case errors.Is(err, nats.ErrTLS) && !network(err):
		return &envelope.Fault{
			What: "TLS cannot be set up", Err: err,
			Instead: "check the certificate and key of this uplink",
		}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return &envelope.Fault{
			What: "the server does not let this client in", Err: err,
			Instead: "add a user for the subject of its certificate on the server, or renew what expired",
		}
	case errors.Is(err, nats.ErrPermissionViolation):
		return &envelope.Fault{
			What: "the server's permissions deny this client", Err: err,
			Instead: "allow it to publish to {prefix}.{gateway}.> and to subscribe to _INBOX.>",
		}
	case errors.Is(err, nats.ErrHeadersNotSupported):
		return &envelope.Fault{What: "the server does not support headers", Err: err, Instead: "use a server with JetStream"}
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &envelope.Fault{What: "the stream does not exist", Err: err, Instead: "create it upstream; it is never created from here"}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return &envelope.Fault{What: "JetStream is off for this account", Err: err, Instead: "enable it on the server"}
	}
	return nil
}

func rejected(err error) *envelope.Fault {
	return &envelope.Fault{
		What: "the server rejects this client's certificate", Err: err,
		Instead: "see that the certificate is there, has not expired and is signed by a CA that the server trusts",
	}
}

// network says that a connection broke or was too slow.
func network(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// ack is what the server says about one message: stored, or why not.
type ack struct {
	Stream string    `json:"stream"`
	Error  *apiError `json:"error"`
}

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error gives the server's words.
func (e *apiError) Error() string {
	return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode)
}

// What JetStream answers, by number. They are part of its API.
const (
	codeAccountResources   = 10002
	codeJetStreamOff       = 10076
	codeJetStreamOffHere   = 10039
	codeMessageTooBig      = 10054
	codeStreamMismatch     = 10060
	codeStoreFailed        = 10077 // the stream is full, and discards what is new
	codeHeaderTooBig       = 10097
	codeSealed             = 10109
	codeDuplicateInProcess = 10158
	codeTooManyRequests    = 10167
)

// errNobody: no stream listens on the subject, or it has no leader right now.
var errNobody = errors.New("nobody stores what is published on this subject")

// judge reads the answer to one message: nil if stream has stored it.
func judge(m *nats.Msg, stream string) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return errNobody
	}
	if plainAck(m.Data, stream) {
		return nil
	}
	var a ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("the answer of the server cannot be read: %w", err)
	}
	switch {
	case a.Error != nil:
		return a.Error.judge(stream)
	case a.Stream == "":
		return errors.New("the answer of the server names no stream")
	case a.Stream != stream:
		return &envelope.Fault{
			What:    fmt.Sprintf("the message went to the stream %q instead of %q", a.Stream, stream),
			Instead: "configure the stream that has these subjects",
		}
	}
	return nil
}

// plainAck knows the usual acknowledgement, {"stream":"PLANT", "seq":17}, without
// decoding it.
func plainAck(b []byte, stream string) bool {
	rest, ok := bytes.CutPrefix(b, []byte(`{"stream":"`))
	if !ok || len(rest) < len(stream) || string(rest[:len(stream)]) != stream {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest[len(stream):], []byte(`", "seq":`)); !ok || len(rest) < 2 {
		return false
	}
	for _, c := range rest[:len(rest)-1] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return rest[len(rest)-1] == '}'
}

func (e *apiError) judge(stream string) error {
	switch e.ErrCode {
	case codeMessageTooBig, codeHeaderTooBig:
		return &envelope.Refused{Reason: fmt.Sprintf("stream %s: %s", stream, e)}
	case codeStreamMismatch:
		return &envelope.Fault{
			What: fmt.Sprintf("the subjects of this gateway do not belong to the stream %q", stream), Err: e,
			Instead: "configure the stream that has them, or add them to it",
		}
	case codeSealed:
		return &envelope.Fault{
			What: fmt.Sprintf("the stream %q is sealed and takes nothing more", stream), Err: e,
			Instead: "configure one that is not",
		}
	case codeJetStreamOff, codeJetStreamOffHere:
		return &envelope.Fault{What: "JetStream is off for this account", Err: e, Instead: "enable it on the server"}
	case codeStoreFailed, codeAccountResources:
		return fmt.Errorf("stream %s takes nothing more: %w; it goes on when the stream has room", stream, e)
	case codeDuplicateInProcess, codeTooManyRequests:
		return fmt.Errorf("stream %s: %w", stream, e)
	}
	if e.Code/100 == 4 {
		return &envelope.Fault{
			What: fmt.Sprintf("the stream %q takes no message of this kind", stream), Err: e,
			Instead: "see its configuration upstream",
		}
	}
	return fmt.Errorf("stream %s: %w", stream, e)
}
