package clock

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kernel asks whether the clock is synchronised. Asking needs no privilege. Who
// sets the clock makes it unsynchronised by that; so do about nine hours without
// a word of NTP or PTP.
func kernel() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("cannot ask the kernel whether the clock is synchronised: %w; permit the system call adjtimex (systemd: SystemCallFilter=adjtimex, no ProtectClock=)", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}
