package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"
)

// EpochConfig says what a Sealer is for.
type EpochConfig struct {
	Stream     Stream
	Epoch      Epoch
	Recipients []Recipient // who may open it, at least one
	Signer     Signer
	Pad        bool // pad frames to Padmé lengths, so that their sizes tell little
	// Time is when the epoch begins, as its key frame says. Zero is time.Now.
	Time time.Time
	// Life is how long the key serves: MinLife to DefaultLife, which zero is.
	Life time.Duration
}

// Sealer holds the key of one epoch of one stream, in memory only. It is not for
// concurrent use.
type Sealer struct {
	config EpochConfig
	key    epochKey
	since  time.Time

	frame    *frameKey // set by KeyFrame
	keyFrame []byte
	first    uint64 // sequence of the key frame
	last     uint64
	frames   uint64

	plain []byte // reused by Seal
}

// NewSealer makes the key of an epoch.
func NewSealer(c EpochConfig) (*Sealer, error) {
	m := Message{Address: Address{Stream: c.Stream, Kind: KeyFrame}, Sequence: 1}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("cannot begin epoch: %w", err)
	}
	switch {
	case c.Signer.Gateway != c.Stream.Gateway:
		return nil, fmt.Errorf("cannot begin epoch of %v as gateway %q", c.Stream, c.Signer.Gateway)
	case len(c.Recipients) == 0:
		return nil, fmt.Errorf("cannot begin epoch of %v: it has no recipients", c.Stream)
	case len(c.Recipients) > maxRecipients:
		return nil, fmt.Errorf("cannot begin epoch of %v: %d recipients, over the %d allowed", c.Stream, len(c.Recipients), maxRecipients)
	}
	for i := range c.Recipients {
		if c.Recipients[i].key == nil {
			return nil, fmt.Errorf("cannot begin epoch of %v: a recipient without a key", c.Stream)
		}
	}
	if _, err := c.Signer.ID(); err != nil {
		return nil, fmt.Errorf("cannot begin epoch: %w", err)
	}
	if c.Time.IsZero() {
		c.Time = time.Now()
	}
	s := &Sealer{config: c, since: c.Time}
	rand.Read(s.key.key[:]) // never fails: crypto/rand ends the process instead
	rand.Read(s.key.baseIV[:])
	return s, nil
}

// Format hides the key.
func (s Sealer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "sealer of %v epoch %v", s.config.Stream, s.config.Epoch)
}

// KeyFrame gives the body of the epoch's key frame, which is message sequence of
// the stream. It comes before Seal. The same sequence gives the same bytes
// again; another one is refused.
func (s *Sealer) KeyFrame(sequence uint64) ([]byte, error) {
	switch {
	case sequence == 0:
		return nil, fmt.Errorf("cannot make key frame of %v: sequence numbers begin at 1", s.config.Stream)
	case s.frame != nil && sequence == s.first:
		return s.keyFrame, nil
	case s.frame != nil:
		return nil, fmt.Errorf("cannot make key frame %d of %v: that of this epoch is %d", sequence, s.config.Stream, s.first)
	}
	f := keyFrame{
		stream: s.config.Stream, epoch: s.config.Epoch, sequence: sequence,
		time: s.since.UnixNano(), thumbprint: s.key.thumbprint(),
	}
	var cek [keySize]byte
	rand.Read(cek[:])
	payload, err := appendEncrypt(nil, &f, &s.key, cek[:], s.config.Recipients)
	clear(cek[:])
	if err != nil {
		return nil, fmt.Errorf("cannot make key frame of %v: %w", s.config.Stream, err)
	}
	body, err := appendSign1(nil, s.config.Signer, typKeyFrame, payload)
	if err != nil {
		return nil, fmt.Errorf("cannot make key frame of %v: %w", s.config.Stream, err)
	}
	key, err := newFrameKey(&s.key, sha256.Sum256(payload))
	if err != nil {
		return nil, err
	}
	if key.aead, err = newGCM(s.key.key[:]); err != nil {
		return nil, fmt.Errorf("cannot make key frame of %v: %w", s.config.Stream, err)
	}
	s.frame, s.keyFrame, s.first, s.last = key, body, sequence, sequence
	return body, nil
}

// Seal appends a data frame to dst: the body of message sequence, with the base
// name and the samples. The sequence is the nonce, so it has to be greater than
// every one before; Seal refuses any other. After an error nothing was sealed
// and the sequence may be used. At steady state it allocates nothing.
func (s *Sealer) Seal(dst []byte, sequence uint64, base string, samples []Sample) ([]byte, error) {
	if err := s.ready(sequence); err != nil {
		return dst, err
	}
	for i := range samples {
		if n := len(samples[i].Value.data); n > MaxValue {
			return dst, fmt.Errorf("cannot seal message %d of %v: a value of %d bytes, over the %d allowed", sequence, s.config.Stream, n, MaxValue)
		}
	}
	s.plain = appendPack(s.plain[:0], base, samples)
	return s.finish(dst, sequence)
}

// ready tells whether the sequence may be sealed: no nonce is used twice.
func (s *Sealer) ready(sequence uint64) error {
	switch {
	case s.frame == nil:
		return fmt.Errorf("cannot seal message %d of %v before its key frame", sequence, s.config.Stream)
	case sequence <= s.last:
		return fmt.Errorf("cannot seal message %d of %v after %d", sequence, s.config.Stream, s.last)
	case s.frames >= maxFrames:
		return fmt.Errorf("cannot seal message %d of %v: the key of epoch %v is used up", sequence, s.config.Stream, s.config.Epoch)
	}
	return nil
}

// finish pads s.plain, seals it and appends the frame.
func (s *Sealer) finish(dst []byte, sequence uint64) ([]byte, error) {
	n := len(s.plain)
	if s.config.Pad {
		n = padme(n + 1)
	}
	if size := 64 + tagSize + n; size > MaxBody {
		return dst, fmt.Errorf("cannot seal message %d of %v: it takes %d bytes, over the %d allowed", sequence, s.config.Stream, size, MaxBody)
	}
	if s.config.Pad {
		s.plain = appendPadding(s.plain, n-len(s.plain))
	}
	dst = s.frame.seal(dst, sequence, s.plain)
	s.last = sequence
	s.frames++
	return dst, nil
}

// Frames is how many frames the key has sealed, for rekeying by count.
func (s *Sealer) Frames() uint64 { return s.frames }

// Since is when the key was made, for rekeying by age.
func (s *Sealer) Since() time.Time { return s.since }
