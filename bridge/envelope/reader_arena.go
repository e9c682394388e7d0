package envelope

// arena is where the samples of a reader's deliveries stand. One that is nil, or
// not to be used again, gives new memory each time.
type arena struct {
	reuse   bool
	samples []Sample
	out     []Delivery
}

// maxArena is how many samples an arena keeps between calls.
const maxArena = 1 << 15

// reset begins a call that gives deliveries: those of the call before are void.
func (a *arena) reset() {
	if !a.reuse {
		a.out = nil
		return
	}
	a.out = a.out[:0]
	if cap(a.samples) > maxArena {
		a.samples = nil
	}
	a.samples = a.samples[:0]
}

// take gives room for n samples, with anything in them.
func (a *arena) take(n int) []Sample {
	if a == nil || !a.reuse {
		return make([]Sample, n)
	}
	from := len(a.samples)
	if from+n > cap(a.samples) {
		// What was taken stays where it is.
		from, a.samples = 0, make([]Sample, 0, max(n, 2*cap(a.samples), 128))
	}
	a.samples = a.samples[:from+n]
	return a.samples[from : from+n : from+n]
}
