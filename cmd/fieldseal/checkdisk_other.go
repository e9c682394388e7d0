//go:build !linux

package main

import "errors"

// diskFree does not know how to ask this system.
func diskFree(string) (int64, error) { return 0, errors.New("this system is not asked") }
