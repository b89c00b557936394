//go:build unix

package disk

import (
	"errors"
	"os"
	"syscall"
)

// SyncEntries makes the entries of an open folder durable.
func SyncEntries(folder *os.File) error { return folder.Sync() }

func rename(from, to string) error { return os.Rename(from, to) }

// Full reports whether an error says that a disk or quota is full.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Links returns how many names an open file has; 1 if that can't be told.
func Links(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 1
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Nlink)
	}
	return 1
}
