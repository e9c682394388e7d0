package ciphertext

// The thresholds, in one place. They were frozen on the first corpus
// (corpus_test.go) before the second one was written, and docs/ciphertext.md
// has what both measured. The starting point of each is the column on the
// right; research is the measured prototype that docs/ciphertext.md sums up.
const (
	// One payload. An oddity is measured in bits: -log2 of (a bound of) the
	// probability that random bytes are as odd. The limit is for all tests on
	// one payload together, so that random payloads fail at most 2^-17 = 7.6e-6.
	limitBits = 17 // research: 1.1e-5 at 64 B

	// History. Seven windows are looked at for each payload.
	historyBits  = 27 // research: 0 of 20,000 windows of random bytes
	pooledBits   = 20 // of short payloads together: random, 1e-6
	constantBits = 16 // in 16 payloads: leaves room for two bytes of framing; random, below 2^-200

	leastRaw   = 32 // bytes of ciphertext in a format without structure: research, 3
	leastAlone = 64 // bytes that one payload needs to be told from plaintext: research, 2
	leastText  = 16 // bytes from which valid UTF-8 is a proof: random, 4e-5 at 16 and 1e-9 at 32
	leastPrint = 8  // bytes from which printable text counts towards repeated failure
	leastWhole = 48 // bytes from which "all of it is well-formed CBOR, or deflate" is a proof: research, 2
	textRun    = 22 // printable bytes in a row, anywhere: random, 4e-10 for each place

	window       = 64  // bytes of a payload that are judged together
	history      = 16  // payloads
	historyBytes = 256 // positions of a body that the history compares
	pooledBytes  = 512 // of short bodies that are judged together

	probation     = 16 // good payloads in a row before a source is trusted: research, 3
	resumed       = 12 // what a trusted source is left with after a restart
	alarmFailures = 3  // in the last 16 payloads: research, 3
	confirmations = 3  // payloads with a new header before that header is trusted
	rememberedIVs = 256
)
