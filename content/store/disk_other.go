//go:build !linux

package store

import "os"

// syncData makes a file's bytes durable. (On darwin this is F_FULLFSYNC.)
func syncData(f *os.File) error { return f.Sync() }
