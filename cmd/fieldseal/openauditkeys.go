package main

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// keyAccount knows for which epochs a key frame came. What is sealed under a key
// that no key frame gives was given to somebody by another way.
type keyAccount struct {
	frames  map[epochOf]string   // digest of the key frame; empty where it was no longer in the stream
	missing map[epochOf]*finding // sealed messages of the others
	oldest  map[envelope.Stream]firstOf
	before  map[string]string // frames, of the run before
}

type epochOf struct {
	stream envelope.Stream
	epoch  envelope.Epoch
}

func (e *epochOf) text() string { return e.stream.String() + " " + e.epoch.String() }

// firstOf is the lowest number of a stream that came, and its epoch.
type firstOf struct {
	sequence uint64
	epoch    envelope.Epoch
}

func newKeyAccount() keyAccount {
	return keyAccount{frames: make(map[epochOf]string), missing: make(map[epochOf]*finding), oldest: make(map[envelope.Stream]firstOf)}
}

// resume goes on behind what an earlier run read: the beginning of its streams is
// not that of what comes now. A state that has no account of key frames was
// written before there was one: its epochs count as those that have theirs.
func (k *keyAccount) resume(report []envelope.StreamReport, before map[string]string) {
	if k.before = before; before == nil {
		k.before = make(map[string]string)
	}
	for _, s := range report {
		k.oldest[s.Stream] = firstOf{}
		for _, e := range s.Epochs {
			if at := (epochOf{s.Stream, e.Epoch}); before == nil {
				k.before[at.text()] = ""
			}
		}
	}
}

// seen notes a message that a gateway signed.
func (k *keyAccount) seen(s envelope.Stream, e envelope.Epoch, sequence uint64) {
	if o, ok := k.oldest[s]; !ok || sequence < o.sequence {
		k.oldest[s] = firstOf{sequence, e}
	}
}

// frame notes a key frame, and tells whether it is another one than is known.
func (k *keyAccount) frame(m *envelope.Message) (fresh bool) {
	at := epochOf{m.Address.Stream, m.Epoch}
	sum := sha256.Sum256(m.Body)
	digest := hex.EncodeToString(sum[:8])
	k.seen(at.stream, at.epoch, m.Sequence)
	was, known := k.known(at)
	k.frames[at] = digest
	delete(k.missing, at)
	return !known || was != digest
}

func (k *keyAccount) known(at epochOf) (digest string, known bool) {
	if digest, known = k.frames[at]; known || len(k.before) == 0 {
		return digest, known
	}
	if digest, known = k.before[at.text()]; known {
		k.frames[at] = digest
	}
	return digest, known
}

// sealed notes a sealed message whose key frame did not come, or not yet. It tells
// whether there was room to do so.
func (k *keyAccount) sealed(d *envelope.Delivery, f *finding) bool {
	at := epochOf{d.Stream, d.Epoch}
	old := k.missing[at]
	if old == nil {
		if _, known := k.known(at); known {
			return true
		}
		if len(k.missing) >= maxFindings {
			return false
		}
		old = &finding{}
		k.missing[at] = old
	}
	old.add(f)
	return true
}

// prune lets go of epochs that the reader let go of: nothing comes of them any more.
func (k *keyAccount) prune(r *envelope.Reader) {
	if len(k.frames) < maxKnown {
		return
	}
	here := make(map[epochOf]bool)
	for _, s := range r.Report() {
		for _, e := range s.Epochs {
			here[epochOf{s.Stream, e.Epoch}] = true
		}
	}
	maps.DeleteFunc(k.frames, func(at epochOf, _ string) bool { return !here[at] })
}

// kept gives the account for the next run, of the epochs that it may hear of.
func (k *keyAccount) kept(report []envelope.StreamReport) map[string]string {
	out := make(map[string]string)
	for _, s := range report {
		for _, e := range s.Epochs {
			at := epochOf{s.Stream, e.Epoch}
			if digest, known := k.known(at); known {
				out[at.text()] = digest
			}
		}
	}
	return out
}

// keyFrame judges whom an epoch is sealed for. A gateway sends a key frame again
// on a new connection, and files are read again: it is looked at once.
func (a *audit) keyFrame(m *envelope.Message) {
	s := m.Address.Stream
	fresh := a.keys.frame(m)
	ids, err := envelope.KeyFrameRecipients(m)
	if err != nil || len(a.rules) == 0 { // the reader read it
		return
	}
	a.passed[s] = a.rules[len(a.rules)-1].names(ids)
	if fresh {
		a.judge(s, "", finding{1, m.Sequence, m.Sequence, m.Time, m.Time}, func(r *rules) verdict { return r.recipients(s, ids) })
	}
}

// unexplained gives what was sealed under keys that no key frame gives, and the
// epochs of which nothing can be said: of the oldest epoch of a stream that keeps
// the newest only, the key frame may be gone.
func (k *keyAccount) unexplained(r *envelope.Reader) (found map[findingKey]*finding, gone []epochOf) {
	if len(k.missing) == 0 {
		return nil, nil
	}
	trimmed := make(map[envelope.Stream]bool)
	for _, s := range r.Report() {
		trimmed[s.Stream] = s.Trimmed > 0
	}
	found = make(map[findingKey]*finding)
	for at, f := range k.missing {
		if first := k.oldest[at.stream]; trimmed[at.stream] && first.sequence > 0 && first.epoch == at.epoch {
			gone = append(gone, at)
			continue
		}
		found[findingKey{at.stream, "", "no-key-frame", "sealed in epoch " + at.epoch.String() + ", whose key frame is not here: who got its key, and how, nobody can tell"}] = f
	}
	return found, gone
}
