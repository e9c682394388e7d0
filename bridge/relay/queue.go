package relay

import (
	"context"

	"github.com/fieldseal/fieldseal/bridge/outbox"
)

// Tags of the outbox records that are messages. Others are none of the relay's
// business.
const (
	tagMessage byte = 1 // an envelope.Message
	tagAgain   byte = 3 // one that was carried on when the segment with it was given up
)

// Queue is what the relay needs of an outbox.
type Queue interface {
	// Next gives the next entries, in order, and waits until there is at least
	// one that is not Context. They are valid until the next call.
	Next(ctx context.Context, maxRecords, maxBytes int) ([]outbox.Entry, error)
	// Rewind goes back to the first entry that is not freed.
	Rewind()
	// Free says that everything up to position is stored upstream.
	Free(position uint64) error
	// Waiting counts the entries that are not freed.
	Waiting() uint64
}

// Outbox makes a Queue of a log. Nobody else reads or frees it.
func Outbox(l *outbox.Log) Queue { return logQueue{l.Reader(), l} }

type logQueue struct {
	*outbox.Reader
	log *outbox.Log
}

func (q logQueue) Free(position uint64) error { return q.log.Free(position) }
func (q logQueue) Waiting() uint64            { return q.log.Stats().Messages }
