package modbus

import (
	"io"
	"log"
	"time"

	"github.com/simonvetter/modbus"
)

// client is one connection to an endpoint. After an error that is no exception
// it is given up, and another one made.
type client interface {
	// read asks one unit for a run of one table: registers come as their bytes on
	// the wire, coils and discrete inputs as bits.
	read(unit uint8, t Table, first, count uint16) (wire []byte, bits []bool, err error)
	// giveUp closes after an error, and waits as long as what is under way could
	// disturb the next connection.
	giveUp()
	close()
}

// tcpClient is Modbus TCP, where a transaction id tells a late answer.
type tcpClient struct{ *modbus.ModbusClient }

func dialTCP(address string, timeout time.Duration) (client, error) {
	c, err := modbus.NewClient(&modbus.ClientConfiguration{
		URL: "tcp://" + address, Timeout: timeout,
		Logger: log.New(io.Discard, "", 0), // it writes to stdout otherwise
	})
	if err == nil {
		err = c.Open()
	}
	if err != nil {
		return nil, err
	}
	return tcpClient{c}, nil
}

func (c tcpClient) read(unit uint8, t Table, first, count uint16) (wire []byte, bits []bool, err error) {
	_ = c.SetUnitId(unit) // never fails
	switch t {
	case Holding:
		wire, err = c.ReadRawBytes(first, 2*count, modbus.HOLDING_REGISTER)
	case Input:
		wire, err = c.ReadRawBytes(first, 2*count, modbus.INPUT_REGISTER)
	case Coil:
		bits, err = c.ReadCoils(first, count)
	case Discrete:
		bits, err = c.ReadDiscreteInputs(first, count)
	}
	return wire, bits, err
}

func (c tcpClient) giveUp() { c.close() }
func (c tcpClient) close()  { _ = c.Close() } // nothing to be saved
