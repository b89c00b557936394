package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Fill leaves so many bytes free on the disk of the folder.
func Fill(dir string, free int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("fill the disk of %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ballast), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("fill the disk of %s: %w", dir, err)
	}
	defer f.Close()
	have, err := f.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("fill the disk of %s: %w", dir, err)
	}
	more := int64(s.Bavail)*int64(s.Bsize) - free
	if more <= 0 {
		if err := f.Truncate(max(0, have+more)); err != nil {
			return fmt.Errorf("fill the disk of %s: %w", dir, err)
		}
		return nil
	}
	if err := unix.Fallocate(int(f.Fd()), 0, have, more); err != nil {
		return fmt.Errorf("fill the disk of %s with %d bytes: %w", dir, more, err)
	}
	return nil
}

// Read returns what the p2pnode of this container takes.
func Read() (Usage, error) {
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return Usage{}, err
	}
	for _, exe := range all {
		if to, err := os.Readlink(exe); err != nil || to != "/p2pnode" {
			continue
		}
		dir := filepath.Dir(exe)
		args, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !runs(args) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return Usage{}, err
		}
		u, err := scenario.UsageOf(pid)
		if err != nil {
			return Usage{}, err
		}
		open, err := os.ReadDir(dir + "/fd")
		if err != nil {
			return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
		}
		return Usage{CPU: u.CPU, RSS: u.RSS, PeakRSS: u.PeakRSS, Descriptors: len(open)}, nil
	}
	return Usage{}, fmt.Errorf("no p2pnode runs in this container")
}
