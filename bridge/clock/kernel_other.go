//go:build !linux

package clock

import "errors"

func kernel() (bool, error) {
	return false, errors.New("whether the clock is synchronised is known on Linux only")
}
