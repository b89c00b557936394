//go:build unix

package store

import (
	"errors"
	"os"
	"syscall"
)

// syncEntries makes the entries of an open folder durable.
func syncEntries(folder *os.File) error { return folder.Sync() }

func rename(from, to string) error { return os.Rename(from, to) }

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
