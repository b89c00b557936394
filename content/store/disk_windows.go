package store

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// syncEntries does nothing: Windows can't sync a folder's entries by themselves,
// NTFS journals them in order.
func syncEntries(*os.File) error { return nil }

// rename tries again for a while when something else, often a virus scanner, has
// the file open.
func rename(from, to string) error {
	const patience = 2 * time.Second
	start := time.Now()
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Rename(from, to)
		busy := errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
		if !busy || time.Since(start)+wait > patience {
			return err
		}
		time.Sleep(wait/2 + rand.N(wait))
	}
}

func full(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
