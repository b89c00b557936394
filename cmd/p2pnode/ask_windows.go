package main

import "os"

// askSignals are the signals by which a command is asked how far it is: Windows
// has none.
func askSignals() []os.Signal { return nil }
