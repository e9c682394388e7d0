package dtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/alert"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// certificate gives the client certificate, or a fault that says what is wrong
// with it: the hub's alert would not.
func (u *Uplink) certificate() (*tls.Certificate, error) {
	var c *tls.Certificate
	if get := u.cfg.TLS.GetClientCertificate; get != nil {
		var err error
		if c, err = get(&tls.CertificateRequestInfo{}); err != nil {
			return nil, &envelope.Fault{What: "this gateway's certificate cannot be had", Err: err, Instead: "see that the keystore has it"}
		}
	} else {
		c = &u.cfg.TLS.Certificates[0]
	}
	own := *c // its leaf may be filled in
	if err := checkCertificate(&own); err != nil {
		return nil, &envelope.Fault{
			What: "this gateway's certificate cannot be used", Err: err,
			Instead: "make an ECDSA P-256 key and have the authority that the hub trusts issue a certificate for it",
		}
	}
	now := time.Now()
	switch {
	case now.After(own.Leaf.NotAfter):
		return nil, &envelope.Fault{
			What:    fmt.Sprintf("this gateway's certificate expired on %s", own.Leaf.NotAfter.UTC().Format(time.DateTime)),
			Instead: "import a new one from the authority that the hub trusts, or set this machine's clock right",
		}
	case now.Before(own.Leaf.NotBefore):
		return nil, &envelope.Fault{
			What:    fmt.Sprintf("this gateway's certificate is not valid before %s", own.Leaf.NotBefore.UTC().Format(time.DateTime)),
			Instead: "set this machine's clock right",
		}
	}
	return &own, nil
}

// judge gives the error of a handshake: a fault where trying again cannot help.
func judge(err error) error {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &authority):
		return &envelope.Fault{
			What: "the hub's certificate is of an authority that is not trusted here", Err: err,
			Instead: "name the authority that signed it in the uplink's trust file",
		}
	case errors.As(err, &hostname):
		return &envelope.Fault{
			What: "the hub's certificate is for another name", Err: err,
			Instead: "connect to a name or address that is in it",
		}
	case errors.As(err, &invalid):
		return &envelope.Fault{
			What: "the hub's certificate is not accepted", Err: err,
			Instead: "renew it, and see that the clocks of both machines are right",
		}
	}
	if d, ok := alertOf(err); ok {
		return fromAlert(d, err)
	}
	return fmt.Errorf("DTLS: %w", err)
}

// alertOf gives the alert that the peer sent. pion's error for it is its own, and
// shows the alert's methods.
func alertOf(err error) (alert.Description, bool) {
	var sent interface {
		error
		ContentType() protocol.ContentType
		Marshal() ([]byte, error)
	}
	if !errors.As(err, &sent) || sent.ContentType() != protocol.ContentTypeAlert {
		return 0, false
	}
	b, err := sent.Marshal()
	if err != nil || len(b) != 2 {
		return 0, false
	}
	return alert.Description(b[1]), true
}

func fromAlert(d alert.Description, err error) error {
	switch d {
	case alert.NoCertificate, alert.BadCertificate, alert.UnsupportedCertificate, alert.CertificateRevoked,
		alert.CertificateExpired, alert.CertificateUnknown, alert.UnknownCA, alert.AccessDenied:
		return &envelope.Fault{
			What: "the hub rejects this gateway's certificate", Err: err,
			Instead: "see that an authority which the hub trusts issued it, that it names this gateway as a DNS name or as urn:fieldseal:NAME, " +
				"and that it is neither expired nor revoked; the hub's log has the reason",
		}
	case alert.HandshakeFailure, alert.InsufficientSecurity, alert.ProtocolVersion, alert.IllegalParameter, alert.UnsupportedExtension:
		return &envelope.Fault{
			What: "the hub and this gateway have no DTLS settings in common", Err: err,
			Instead: "run a hub with DTLS 1.2, an ECDSA certificate, ECDHE with AES-128-GCM or ChaCha20-Poly1305, and the extended master secret",
		}
	}
	return fmt.Errorf("the hub ends the handshake: %w", err)
}

// hubFault is what the hub said, as this gateway's fault.
func hubFault(w word) *envelope.Fault {
	return &envelope.Fault{What: "the hub accepts nothing: " + w.text, Instead: w.instead}
}
