// Package hub is the receiving end of the DTLS uplink: it lets gateways in by
// their certificates, publishes what they send to a JetStream stream, and tells
// each how far its messages are stored.
//
// A hub has no state of its own and no key that opens anything: any number may
// run side by side, and one that dies takes nothing with it. What it had not
// acknowledged, the gateway sends again to another, and the stream drops by id
// what it has already.
//
// A gateway publishes under its own name only. The name is that of its
// certificate; subject, headers and the id for the broker are built here, from
// the parsed message, and a message whose address names another gateway is
// refused.
//
// # Known limits
//
// A gateway that was let in may cost up to about 7 MiB: a window of messages,
// SCTP's receive buffer and the datagrams in the queue. [Limits] bounds how many
// there are.
//
// An expired revocation list stays in force, and [Status] says so: a plant whose
// authority is away goes on, and nobody who was revoked comes back.
package hub
