// Package clock says how far the gateway's clock can be trusted. A dated
// exception is worth what the date is worth: whoever can set a clock back could
// make one last for ever, and a clock that lost its battery starts in 1970.
//
// A clock is trusted while the kernel says that it is synchronised, and where
// that ended, or has not begun yet, while it stands past the mark: the highest
// synchronised time that was ever seen, kept on disk. Only synchronised time
// raises the mark, so that a clock which is set ahead for a while ends nothing
// for good. A newly signed policy resets it: see [Clock.Accept].
package clock
