package modbus

import (
	"encoding/binary"
	"errors"
)

const (
	rtuRequest = 8   // bytes: unit, function, address, count, checksum
	rtuAround  = 5   // bytes of an answer beside its data: unit, function, length, checksum
	rtuLongest = 256 // Modbus over Serial Line 1.02, 2.5.1
)

// What a line can bring instead of an answer.
var (
	errChecksum = errors.New("an answer with a wrong checksum")
	errGarbage  = errors.New("an answer that is none")
	errHalf     = errors.New("half an answer")
	errOther    = errors.New("answers, and not to what it was asked: late, or another device has its number")
	errBabble   = errors.New("the line does not fall silent")
)

// function is the code that reads a table. There are no others.
func (t Table) function() byte {
	return [...]byte{Coil: 1, Discrete: 2, Holding: 3, Input: 4}[t]
}

// dataSize is the number of bytes that a run of a table takes in an answer.
func (t Table) dataSize(count uint16) int {
	if t.bits() {
		return (int(count) + 7) / 8
	}
	return 2 * int(count)
}

// checksum is CRC-16/MODBUS (Modbus over Serial Line 1.02, 6.2.2).
func checksum(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}

// appendRequest appends a request for a run of one table.
func appendRequest(dst []byte, unit uint8, t Table, first, count uint16) []byte {
	from := len(dst)
	dst = append(dst, unit, t.function())
	dst = binary.BigEndian.AppendUint16(dst, first)
	dst = binary.BigEndian.AppendUint16(dst, count)
	return binary.LittleEndian.AppendUint16(dst, checksum(dst[from:]))
}

// frame is one answer as it was read. data aliases what it was read from.
type frame struct {
	unit     uint8
	function byte   // with the highest bit set: an exception
	data     []byte // without its length; of an exception: its code
}

// parseFrame reads the answer that b begins with. n is its length, and 0 where
// more has to come.
func parseFrame(b []byte) (f frame, n int, err error) {
	if len(b) < 3 {
		return f, 0, nil
	}
	data := b[2:3]
	switch function := b[1]; {
	case function >= 1 && function <= 4:
		n = rtuAround + int(b[2])
		data = b[3:min(len(b), max(n-2, 3))]
	case function >= 0x81 && function <= 0x84:
		n = rtuAround
	default:
		return f, 0, errGarbage
	}
	switch {
	case n > rtuLongest:
		return f, 0, errGarbage
	case len(b) < n:
		return f, 0, nil
	case binary.LittleEndian.Uint16(b[n-2:]) != checksum(b[:n-2]):
		return f, 0, errChecksum
	}
	return frame{b[0], b[1], data}, n, nil
}
