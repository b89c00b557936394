//go:build unix

package main

import "os"

// overwrites reports whether the terminal understands escape sequences.
func overwrites(*os.File) bool { return os.Getenv("TERM") != "dumb" }
