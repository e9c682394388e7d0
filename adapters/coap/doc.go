// Package coap takes what devices encrypt themselves: a [Source] listens for
// CoAP (RFC 7252) over DTLS 1.2, a device that is known by its certificate or its
// pre-shared key sends its ciphertext to the path of a point with POST or PUT, and
// it becomes a sample of that point, with the time when it arrived.
//
// What a device is told:
//
//   - 2.04 Changed: the sink has the sample. It is pending, not yet durable: a
//     power cut in the next quarter of a second takes it
//   - 2.31 Continue: the next block of a block-wise transfer (RFC 7959) may come
//   - 4.00 Bad Request, 4.02 Bad Option: nobody can make sense of it
//   - 4.04 Not Found: the machine has no point with that path
//   - 4.05 Method Not Allowed: there is nothing to get, observe or delete
//   - 4.08 Request Entity Incomplete: a block is missing; begin again
//   - 4.13 Request Entity Too Large, with Size1: the point's max_bytes
//   - 4.15 Unsupported Content-Format: something else than the point is declared as
//   - 4.29 Too Many Requests, with Max-Age: more than the device may send
//   - 5.03 Service Unavailable, with Max-Age: a full outbox that stops its sources
//
// A message that comes twice, because its answer was lost or the network doubled
// it, is answered again and taken once, within one DTLS session. A device that
// makes a new session and sends its payload again is taken again.
//
// The gateway answers and never asks: it sends no request, opens no connection
// and registers no observation.
//
// A machine's link is up from the device's handshake on, and down when its last
// session ended, or was silent for longer than the machine's Silence. A device
// that was away for that long gets one bad sample for each of its points
// (BadNoCommunication): one that makes a session for each message does not, while
// it comes often enough.
//
// Known limits: DTLS 1.2; no raw public keys; no OSCORE; a message of more than
// about 1900 bytes has to come block-wise; no multicast.
package coap
