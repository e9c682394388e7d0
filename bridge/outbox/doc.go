// Package outbox is a durable, bounded, encrypted log in acceptance order: what is in it survives kill -9, power cut and full disk until it is freed or given up.
//
// One goroutine (the committer) appends; one (the relay) reads through a [Reader] and frees. Records are opaque. Every commit is one batch and one flush.
//
// # Files
//
// The folder holds segments (ID.seg), spare files of a segment's size (ID.free), one of which is the reserve, and the cursor. All numbers are big endian.
// What the segment's header says counts, not the file's name.
//
//	segment  header, preamble batches (the last one marked), data batches; each batch begins at a multiple of 64
//	header   256 B: "FSOUTBOX", version u32, 0 u32, salt [32], id, id before, first position, last position before, freed position, payload bytes before,
//	         time (Unix ns) each 64 bit, zeros to 224, HMAC-SHA256 of all that
//	batch    64 B: "FSBT", plaintext length u32, records u32, kind u8 (0 data, 1 preamble, 2 end of preamble), zeros [3], first position, time, freed position,
//	         0 each 64 bit, HMAC-SHA256 of offset and all that, cut to 16; then the ciphertext with its 16-byte tag, then zeros to a multiple of 64
//	record   length as uvarint, tag, data
//	cursor   two slots at 0 and 4096, 128 B each: see cursor.go
//
// AES-256-GCM key and MAC key of a segment are HKDF-SHA256(master, salt). The nonce of a batch is its offset in the file, the additional data are the segment's
// id and the batch's header. A segment is written from front to back once; after a crash, a reopening or a write error a new one is begun; a recycled
// file gets a new salt. So no nonce is used twice with one key, and batches of a file's earlier life do not authenticate.
//
// The magic, version, salt and MAC of the header keep their places in all versions, so that an unknown version is told from damage.
//
// # What a restart finds
//
// Only what was written after the last flush can be torn, so a batch that does not authenticate, with an authentic one after it, is damage: it is reported
// by [Log.Damage] with the exact positions. A batch that does not authenticate at the very end of the newest segment is taken for a commit that the crash
// interrupted: it was never acknowledged, and is dropped without a word.
//
// BUG(outbox): damage to exactly the last acknowledged batch, after a crash, looks like a torn commit and is not reported. (After Close it is: the cursor
// knows the last position.) Positions are not reused even then: after a crash they go on one segment's size further, which is more than could have been
// written. Receivers see the gap in their streams.
//
// BUG(outbox): somebody who can write to the folder can put back an older state of all its files. Receivers see that, too.
package outbox
