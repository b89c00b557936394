package node

import (
	"io/fs"
	"syscall"
)

// changeTime returns when a file was changed last, its bytes or what is known of it,
// in nanoseconds. Unlike the time that it was written to, nobody can set it.
func changeTime(info fs.FileInfo) int64 {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return s.Ctim.Nano()
}
