// Package stream decides what goes upstream and under which number: it filters
// by exception, gathers what is pending for each stream, and at each commit
// turns it into messages, with the key frames and checkpoints that belong there.
//
// It is pure: it does no input or output, starts no goroutine and reads no
// clock. [Machine] is fed by one machine's sink; [Set] is owned by the
// committer. What a commit builds becomes part of the streams only when the
// outbox has it ([Set.Accept]); until then the heads stay where they were, so
// that a crash, a full disk or a segment's preamble never sees a number that was
// not accepted.
package stream
