// Package interop tests Fieldseal against other people's programs: a Modbus
// server on libmodbus, an OPC UA server on node-opcua, nats-server, openssl as
// the plant's authority, and podman; tcpdump listens to the wires. The gateway
// and who opens its data are processes too, and are set up with the commands
// that a user types.
//
// Its tests and the kit they stand on are behind the build tag interop:
//
//	make interop
//
// Each peer runs in its own process group, on a free loopback port, and ends
// with the test that started it. The last line that is printed names all peers
// that ran, with the versions they give themselves; a peer that should have
// run and did not is a failure.
package interop
