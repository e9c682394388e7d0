// Package sim simulates a plant on the loopback interface, for tests and for
// the demo: [StartModbus] starts its Modbus TCP part. Nothing of it is linked
// into the product.
//
// Every simulated machine has the same points, as [Modbus.YAML] describes them:
//
//	state            public      what the machine does, a number
//	public-counter   public      counts how often it was read
//	nameplate        public      text; a scan for plaintext has to find it
//	temperature      internal
//	energy           internal
//	pump-on          internal
//	force            restricted  follows the press cycle
//	counter          restricted  counts how often it was read
//	program-name     restricted  text; a scan for plaintext must not find it
//	torque-log       restricted  what the device encrypted itself, with a counter that moves when it changes
//
// A simulator keeps the truth about what it gave out, so that a consumer at the
// far end can be checked against it and not against the bridge's own word:
// [Modbus.Served] for samples lost and duplicated, [Modbus.Payloads] for
// ciphertext byte for byte, [Modbus.Canaries] for what must not be seen on the
// way.
package sim
