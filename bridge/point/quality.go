package point

import "fmt"

// Quality is an OPC UA status code (OPC 10000-4, 7.39). Zero is good; the two
// highest bits are the severity.
type Quality uint32

// The status codes that sources of this project give. Names and numbers are
// those of OPC 10000-6, Annex A.
const (
	Good                      Quality = 0
	Uncertain                 Quality = 0x40000000
	Bad                       Quality = 0x80000000
	BadCommunicationError     Quality = 0x80050000
	BadEncodingLimitsExceeded Quality = 0x80080000
	BadTimeout                Quality = 0x800A0000
	BadNoCommunication        Quality = 0x80310000
	BadOutOfRange             Quality = 0x803C0000
	BadNotSupported           Quality = 0x803D0000
	BadTypeMismatch           Quality = 0x80740000
	BadConfigurationError     Quality = 0x80890000
	BadNotConnected           Quality = 0x808A0000
	BadDeviceFailure          Quality = 0x808B0000
	BadSensorFailure          Quality = 0x808C0000
)

// IsBad tells whether the severity is bad: such a sample has no value.
func (q Quality) IsBad() bool { return q&0xC0000000 == 0x80000000 }

// IsGood tells whether the severity is good.
func (q Quality) IsGood() bool { return q&0xC0000000 == 0 }

// String gives the symbolic name, or the number where it has none here.
func (q Quality) String() string {
	switch q {
	case Good:
		return "Good"
	case Uncertain:
		return "Uncertain"
	case Bad:
		return "Bad"
	case BadCommunicationError:
		return "BadCommunicationError"
	case BadEncodingLimitsExceeded:
		return "BadEncodingLimitsExceeded"
	case BadTimeout:
		return "BadTimeout"
	case BadNoCommunication:
		return "BadNoCommunication"
	case BadOutOfRange:
		return "BadOutOfRange"
	case BadNotSupported:
		return "BadNotSupported"
	case BadTypeMismatch:
		return "BadTypeMismatch"
	case BadConfigurationError:
		return "BadConfigurationError"
	case BadNotConnected:
		return "BadNotConnected"
	case BadDeviceFailure:
		return "BadDeviceFailure"
	case BadSensorFailure:
		return "BadSensorFailure"
	}
	return fmt.Sprintf("0x%08X", uint32(q))
}
