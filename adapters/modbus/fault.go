package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/simonvetter/modbus"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// exception is an answer of the device by which it refuses a request (Modbus
// Application Protocol 1.1b3, 7). The connection is sound after it.
type exception byte

// The exceptions that are treated in a way of their own.
const (
	illegalFunction exception = 1
	illegalAddress  exception = 2
	illegalValue    exception = 3
	deviceFailure   exception = 4
	acknowledge     exception = 5
	busy            exception = 6
	parityError     exception = 8
	noPath          exception = 10
	noTarget        exception = 11
)

var exceptionErrors = map[modbus.Error]exception{
	modbus.ErrIllegalFunction:         illegalFunction,
	modbus.ErrIllegalDataAddress:      illegalAddress,
	modbus.ErrIllegalDataValue:        illegalValue,
	modbus.ErrServerDeviceFailure:     deviceFailure,
	modbus.ErrAcknowledge:             acknowledge,
	modbus.ErrServerDeviceBusy:        busy,
	modbus.ErrMemoryParityError:       parityError,
	modbus.ErrGWPathUnavailable:       noPath,
	modbus.ErrGWTargetFailedToRespond: noTarget,
}

// Error names the exception in the words of the specification.
func (e exception) Error() string {
	for err, code := range exceptionErrors {
		if code == e {
			return fmt.Sprintf("%v (exception %d)", err, byte(e))
		}
	}
	return fmt.Sprintf("exception %d", byte(e))
}

// quality is what the points of a refused request have.
func (e exception) quality() point.Quality {
	switch e {
	case illegalFunction:
		return point.BadNotSupported
	case illegalAddress:
		return point.BadConfigurationError
	case illegalValue:
		return point.BadOutOfRange
	case acknowledge, busy, noPath, noTarget:
		return point.BadNoCommunication
	default:
		return point.BadDeviceFailure
	}
}

// lasting tells whether the device refuses for a reason that time does not
// mend: what is asked for is not there.
func (e exception) lasting() bool {
	return e == illegalFunction || e == illegalAddress || e == illegalValue
}

// asException recognises the library's errors for exceptions. It gives those
// without a name of their own as a bare text.
func asException(err error) (exception, bool) {
	var own exception
	if errors.As(err, &own) {
		return own, true
	}
	var known modbus.Error
	if errors.As(err, &known) {
		code, ok := exceptionErrors[known]
		return code, ok
	}
	var code byte
	if _, scan := fmt.Sscanf(err.Error(), "unknown exception code (%d)", &code); scan == nil {
		return exception(code), true
	}
	return 0, false
}

// fault is a request that got no answer, or a useless one.
type fault struct {
	quality  point.Quality
	why      string // without addresses that differ each time, and without any value
	endpoint bool   // nobody behind the endpoint can be reached
}

func (f *fault) Error() string { return f.why }

// dialFault is the fault of an endpoint that cannot be connected to.
func dialFault(err error) *fault {
	return &fault{quality: point.BadNotConnected, why: "cannot connect: " + cause(err), endpoint: true}
}

// unitFault is the fault of a request that one unit did not answer.
func unitFault(unit uint8, err error) *fault {
	f := &fault{quality: point.BadCommunicationError}
	switch code, isException := asException(err); {
	case isTimeout(err):
		f.quality, f.why = point.BadTimeout, fmt.Sprintf("unit %d does not answer", unit)
	case isException:
		f.quality, f.why = code.quality(), fmt.Sprintf("unit %d: %v", unit, code)
	default:
		f.why = fmt.Sprintf("unit %d: %s", unit, cause(err))
	}
	return f
}

func isTimeout(err error) bool {
	return errors.Is(err, modbus.ErrRequestTimedOut) || os.IsTimeout(err)
}

// cause gives the reason in an error without the local address, which differs
// for each connection.
func cause(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the device closed the connection"
	case errors.As(err, &dns):
		return "cannot resolve the name: " + dns.Err
	case isTimeout(err):
		return "timed out"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, context.Canceled):
		return "stopped"
	}
	return err.Error()
}
