// Package dtls delivers messages to a hub over SCTP in DTLS 1.2 (RFC 8261), for
// links where TCP suffers or is not allowed: radio, satellite, NAT that forgets.
// It holds both ends of the protocol, so that there is one place for its bytes:
// [Uplink] is the gateway's, [Listener] and [Peer] are the hub's. The
// description for other implementations is docs/dtls-uplink.md.
//
// SCTP brings order, retransmission, fragments and congestion control. What it
// acknowledges is in the hub's memory, and proves nothing: messages count as
// stored when the hub says so in a frame of its own, after its store did. A
// message that is sent again after a break has the same id, by which the store
// drops it.
//
// Both ends prove themselves with ECDSA certificates. Cipher suites are AEAD
// only, the extended master secret (RFC 7627) is required, and the gateway sends
// a connection id (RFC 9146), so that a NAT which gives it another port goes
// unnoticed.
//
// # Known limits
//
// An alert before the end of a DTLS handshake is not authenticated. Whoever can
// see or guess a gateway's port can end its attempts to connect; nobody without
// its keys can end a connection that stands.
//
// A hub takes up a little state, about 30 kB, for an address that has not yet
// answered a cookie: pion makes the cookie in the connection. There are at most
// [ListenLimits].HalfOpen of them, and the oldest makes place for a new one.
package dtls
