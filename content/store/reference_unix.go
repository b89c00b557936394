//go:build unix

package store

import (
	"io/fs"
	"os"
	"syscall"
)

// openAtOnce keeps an open from waiting for whoever writes into a pipe that took a
// file's place.
const openAtOnce = syscall.O_NONBLOCK

// inode returns what tells a file from others on its disk; 0 if nothing does.
func inode(_ *os.File, info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
