// Package sim simulates a plant on the loopback interface, for tests and for
// the demo: [StartModbus] starts presses that speak Modbus TCP, [StartRTULine] a
// serial line of hot runners, [StartOPCUA] mixers that speak OPC UA. Nothing of
// it is linked into the product.
//
// Presses and mixers have the same points, as [Modbus.YAML] and [OPCUA.YAML]
// describe them:
//
//	state            public      what the machine does, a number
//	public-counter   public      counts how often it was read; that of a mixer moves by itself
//	nameplate        public      text; a scan for plaintext has to find it
//	temperature      internal
//	energy           internal
//	pump-on          internal
//	force            restricted  follows the press cycle
//	counter          restricted  counts as public-counter does
//	program-name     restricted  text; a scan for plaintext must not find it
//	torque-log       restricted  what the device encrypted itself, with a counter that moves when it changes
//
// A simulator keeps the truth about what it gave out, so that a consumer at the
// far end can be checked against it and not against the bridge's own word:
// [Modbus.Served] for samples lost and duplicated, [Modbus.Payloads] for
// ciphertext byte for byte, [Modbus.Canaries] for what must not be seen on the
// way, [Modbus.History] for each value of each point with its time, and
// [OPCUA.Given] for how many there were.
package sim
