package opcua

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// statusName gives the symbolic name of a status code.
func statusName(s ua.StatusCode) string {
	if d, ok := ua.StatusCodes[s&0xFFFF0000]; ok {
		return strings.TrimPrefix(d.Name, "Status")
	}
	return fmt.Sprintf("0x%08X", uint32(s))
}

// explainOpen says what to do where the server ends a connection for reasons of
// certificates. Servers are free to say no more than that a check failed, or to
// hang up.
func (s *Spec) explainOpen(err error) error {
	var status ua.StatusCode
	var closed *uacp.Error
	ours := fmt.Sprintf("our certificate sha256:%x", sha256.Sum256(s.Certificate))
	switch {
	case errors.As(err, &closed) && closed.ErrorCode&0x80000000 != 0:
		status = ua.StatusCode(closed.ErrorCode)
	case closed == nil && errors.As(err, &status):
	case closed != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the server ended the handshake and does not say why: most often it does not trust %s; have it trusted there", ours)
	default:
		return err
	}
	switch status {
	case ua.StatusBadCertificateUntrusted:
		return &refusal{what: fmt.Sprintf("the server does not trust %s (%s); have it trusted there", ours, statusName(status))}
	case ua.StatusBadSecurityChecksFailed:
		return &refusal{what: fmt.Sprintf("the server ended the handshake (%s): most often it does not trust %s; have it trusted there", statusName(status), ours)}
	case ua.StatusBadCertificateTimeInvalid, ua.StatusBadCertificateIssuerTimeInvalid:
		return &refusal{what: fmt.Sprintf("the server finds %s not valid today (%s); look at its dates and at the server's clock", ours, statusName(status))}
	case ua.StatusBadCertificateURIInvalid:
		return &refusal{what: fmt.Sprintf("the server finds that the application URI is not the one in %s (%s)", ours, statusName(status))}
	case ua.StatusBadCertificateInvalid, ua.StatusBadCertificateUseNotAllowed, ua.StatusBadCertificateRevoked, ua.StatusBadCertificateRevocationUnknown,
		ua.StatusBadCertificateChainIncomplete, ua.StatusBadCertificatePolicyCheckFailed:
		return &refusal{what: fmt.Sprintf("the server refuses %s (%s)", ours, statusName(status))}
	case ua.StatusBadTCPEndpointURLInvalid:
		return &refusal{what: fmt.Sprintf("the server knows no endpoint of that name (%s); write endpoint: as the server's own settings show it", statusName(status))}
	}
	return err
}

// faultOf gives the quality of points, and the reason in words, for an endpoint
// that broke or cannot be connected to.
func faultOf(err error) (q point.Quality, why string) {
	var r *refusal
	var status ua.StatusCode
	var closed *uacp.Error
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &r):
		return point.BadNotConnected, r.what
	case errors.As(err, &closed):
		return point.BadCommunicationError, fmt.Sprintf("the server closed the connection (%s)", statusName(ua.StatusCode(closed.ErrorCode)))
	case errors.As(err, &status) && status == ua.StatusBadSecurityChecksFailed:
		return point.BadCommunicationError, "a message does not bear the server's signature, or the server refuses ours (BadSecurityChecksFailed)"
	case errors.As(err, &status) && status == ua.StatusBadTimeout:
		return point.BadTimeout, "the server does not answer"
	case errors.As(err, &status):
		return point.BadCommunicationError, fmt.Sprintf("the server refuses a request (%s)", statusName(status))
	case errors.Is(err, errGate):
		return point.BadNotConnected, err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return point.BadCommunicationError, "the server closed the connection"
	case errors.As(err, &dns):
		return point.BadNotConnected, "cannot connect: cannot resolve the name: " + dns.Err
	case os.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return point.BadTimeout, "cannot connect: timed out"
	case errors.As(err, &errno):
		return point.BadNotConnected, "cannot connect: " + errno.Error()
	}
	return point.BadCommunicationError, err.Error()
}

// dialError leaves out the local address, which differs each time.
func dialError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && !errors.Is(err, errGate) {
		return op.Err
	}
	return err
}
