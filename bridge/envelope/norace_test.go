//go:build !race

package envelope

// raceEnabled tells that the race detector makes everything slow.
const raceEnabled = false
