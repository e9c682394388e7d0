//go:build !linux

package opcua

// confineProcess does nothing: only the limits of the Go runtime hold here.
func confineProcess() error { return nil }
