// Package relay moves messages from the outbox to an uplink, in order, and
// frees in the outbox only what the receiver has said it stored.
package relay

import (
	"context"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// Uplink delivers messages upstream.
type Uplink interface {
	// Send delivers in order and waits for the receiver's word. n messages from
	// the front of the batch are stored durably upstream; n < len(batch) only
	// with an error:
	//
	//   - *envelope.Refused: batch[n] can never be accepted; quarantine it.
	//   - *envelope.Fault: will not mend without configuration; turn to the
	//     next uplink and keep probing this one.
	//   - anything else is transient: send again from batch[n].
	//
	// It returns within 5 s where there is no progress. It is not called
	// concurrently. The caller does not change the messages until it returns.
	Send(ctx context.Context, batch []envelope.Message) (n int, err error)
	// Connections counts the connections made so far. The relay sends the key
	// frames in force again whenever it has moved.
	Connections() uint64
	// Close ends the connection. What Send has not reported stored is not lost:
	// it is in the outbox.
	Close() error
}
