package store

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// openAtOnce is for systems with pipes in folders.
const openAtOnce = 0

// inode returns what tells a file from others on its disk; 0 if nothing does.
func inode(f *os.File, _ fs.FileInfo) uint64 {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return 0
	}
	return uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)
}
