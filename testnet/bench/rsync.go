//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// rsynced is what rsync says that it took to make one version of another.
type rsynced struct {
	literal int64 // bytes of files that were sent as they are
	sent    int64 // by the side that has the new version, all counted
	back    int64 // to it: mostly checksums of what the other side has
}

// total is the figure in tables: what crosses the line both ways. rsync sends
// checksums of the old version up and differences down, where a node only
// fetches.
func (r rsynced) total() int64 { return r.sent + r.back }

// rsync brings a copy of old, made below dir, to what new is. It compares every
// file, as if the times told nothing, and does not compress. Links are left out
// as they are of a content.
func rsync(ctx context.Context, dir string, c change) (_ rsynced, err error) {
	copy, err := os.MkdirTemp(dir, "rsync-")
	if err != nil {
		return rsynced{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copy)) }()
	basis := filepath.Join(copy, "basis")
	if text, err := exec.CommandContext(ctx, "cp", "-a", c.old, basis).CombinedOutput(); err != nil {
		return rsynced{}, fmt.Errorf("copy %s: %w: %s", c.old, err, text)
	}
	if err := rename(basis, c.oldName, c.newName); err != nil {
		return rsynced{}, err
	}
	info, err := os.Stat(c.new)
	if err != nil {
		return rsynced{}, err
	}
	new := c.new
	if info.IsDir() {
		new, basis = new+"/", basis+"/"
	}
	cmd := exec.CommandContext(ctx, "rsync", "-a", "--no-links", "--ignore-times", "--no-whole-file", "--delete",
		"--no-human-readable", "--stats", new, basis)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return rsynced{}, fmt.Errorf("rsync (apt-get install rsync): %w: %s", err, text)
	}
	return parseRsync(string(text))
}

// rename puts new in place of old in the names of all files and folders.
func rename(tree, old, new string) error {
	if old == new {
		return nil
	}
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from := filepath.Join(tree, e.Name())
		to := filepath.Join(tree, strings.ReplaceAll(e.Name(), old, new))
		if to != from {
			if err := os.Rename(from, to); err != nil {
				return err
			}
		}
		if e.IsDir() {
			if err := rename(to, old, new); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseRsync reads what rsync --stats writes.
func parseRsync(text string) (r rsynced, err error) {
	want := map[string]*int64{"Literal data": &r.literal, "Total bytes sent": &r.sent, "Total bytes received": &r.back}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		into, ok := want[key]
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if *into, err = strconv.ParseInt(number, 10, 64); err != nil {
			return r, fmt.Errorf("rsync --stats: %w", err)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		return r, fmt.Errorf("rsync --stats: figures are missing in\n%s", text)
	}
	return r, nil
}
