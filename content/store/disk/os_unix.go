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
	if s := stat(f); s != nil {
		return int(s.Nlink)
	}
	return 1
}

// OneDisk reports whether two open files are on one file system, as far as can be told.
func OneDisk(a, b *os.File) bool {
	x, y := stat(a), stat(b)
	return x != nil && y != nil && x.Dev == y.Dev
}

// stat returns what the system knows of an open file; nil if it doesn't say.
func stat(f *os.File) *syscall.Stat_t {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	s, _ := info.Sys().(*syscall.Stat_t)
	return s
}
