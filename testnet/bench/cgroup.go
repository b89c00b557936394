//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// A cgroup is a group of processes whose memory, page cache included, is
// limited: a small machine within a large one.
type cgroup struct {
	dir string
}

// newCgroup makes a cgroup of version 1 or 2, as the system has it. It needs
// root.
func newCgroup(limit int64) (*cgroup, error) {
	const v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	top, file := v1, "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(v1, file)); err != nil {
		top, file = v2, "memory.max"
		// The controller has to be passed on to children; often it is already.
		if err := os.WriteFile(filepath.Join(v2, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			return nil, fmt.Errorf("limit memory by cgroups of version 1 or 2: %w", err)
		}
	}
	g := &cgroup{filepath.Join(top, fmt.Sprintf("p2pnode-bench-%d", os.Getpid()))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("limit memory: %w", err), g.Close())
	}
	return g, nil
}

// Join puts a process into the group. What it touches first from then on counts
// there.
func (g *cgroup) Join(pid int) error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("put process %d into cgroup: %w", pid, err)
	}
	return nil
}

// Close removes the group. End the processes in it first.
func (g *cgroup) Close() error { return os.Remove(g.dir) }
