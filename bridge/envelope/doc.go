// Package envelope is the wire format of Fieldseal: how samples are sealed for
// the people who may read them, how a gateway signs what it sent, and how a
// receiver opens, verifies and accounts for it. docs/format.md describes the
// bytes; this package is their implementation on both sides, and what consumers
// import.
//
// # What is sent
//
// Everything that goes upstream is a [Message]. One counter per [Stream] (one
// machine's samples of one sensitivity level) numbers every message of it, from
// 1 and without holes. The life of one stream key is an [Epoch]:
//
//	1  key frame    the epoch's key, encrypted to each recipient, signed
//	2  data         samples, sealed under that key, or in clear
//	3  data
//	4  checkpoint   the gateway's signature over the digests of 1 to 3
//	5  passthrough  a payload that the device encrypted itself
//	6  checkpoint   over 5; closing: the epoch ends here
//	7  key frame    of the next epoch
//
// Asymmetric cryptography happens once per epoch and once per checkpoint. A data
// frame costs one pass of AES-256-GCM, and its digest one of SHA-256.
//
// # Sending
//
// A [Sealer] holds an epoch's key, in memory only. Its first message is
// [Sealer.KeyFrame], [Sealer.SealCatalogue] tells the recipients what the points
// are, and [Sealer.Seal] makes the data frames, without allocating.
// [Sealer.Due] says when the stream needs a new epoch: by age, by count, and
// when the recipients change, which is how one is revoked. [AppendClear] makes
// the body of clear samples. A [Head] keeps where the stream stands: [Head.Note]
// accounts for every accepted message, and [SignCheckpoint] signs for those since
// the last checkpoint. After a crash the head is rebuilt from the outbox, and a
// closing checkpoint ends each epoch that was left open. [SignLoss] says that
// messages are gone, and every few seconds [SignStatement] says that the gateway
// lives and where its streams stand.
//
// The sequence number is the nonce: Seal refuses a number that does not rise,
// and a key never outlives its process, so that no nonce is used twice with one
// key. A memory-cloned virtual machine is the exception; receivers report it.
//
// # Receiving
//
// A [Reader] takes messages in any order, any number of times, and gives each
// [Delivery] once, by default when its checkpoint came. [Reader.Report] tells
// what is missing, what a statement says was sent and did not come, what the
// gateway says is lost, and what was forged; [Reader.Gateways] tells of each
// gateway whether it is silent. [ResumeReader] goes on where another run was.
//
// What a Reader holds is in memory and bounded, whatever arrives:
// [ReaderOptions].MaxPending for what waits, MaxAccount for what is known of
// streams and epochs. What is given up for it is counted and reported. With the
// defaults a flood of garbage leaves it below 32 MB, which the garbage collector
// may let double.
//
// # Known limits
//
// An [Int] and a [Uint] of the same number are the same on the wire; a receiver
// gets an Int where 64 signed bits hold it. Until its checkpoint came, any
// recipient of an epoch could have made a sealed message, and anybody a clear
// one: [Pending] says so. Whoever may publish to a clear stream can crowd out what
// waits for its checkpoint; that is reported as given up. Without a trust file
// anybody can fill the account with streams that do not exist. With
// GODEBUG=fips140=only receivers work, and gateways cannot seal data frames
// (docs/format.md, 11).
package envelope
