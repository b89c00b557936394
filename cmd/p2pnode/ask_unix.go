//go:build unix

package main

import (
	"os"
	"syscall"
)

// askSignals are the signals by which a command is asked how far it is.
func askSignals() []os.Signal { return []os.Signal{syscall.SIGUSR1} }
