package approval

import "fmt"

const (
	// MaxRevision is the greatest revision there can be. Nothing follows it.
	MaxRevision = 1<<31 - 2
	// MaxStep is by how much a revision goes up at most.
	MaxStep = 1_000_000
)

// CheckRevision refuses to sign a revision that leaves a plant no room for the
// next ones: a gateway takes no lower one ever again. last is what was signed
// before, 0 where nothing was.
func CheckRevision(last, next int) error {
	switch {
	case next > MaxRevision:
		return fmt.Errorf("revision %d is above the greatest, which is %d; write revision: %d", next, MaxRevision, last+1)
	case next-last > MaxStep && last == 0:
		return fmt.Errorf("revision %d is the first, and more than %d: a gateway takes no lower one ever again; write revision: 1", next, MaxStep)
	case next-last > MaxStep:
		return fmt.Errorf("revision %d is more than %d above revision %d, the last one: a gateway takes no lower one ever again; write revision: %d",
			next, MaxStep, last, last+1)
	}
	return nil
}
