//go:build linux

package main

import (
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// What is measured as evicted must be what the system has dropped.
func TestPagesInMemoryAreSeen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := scenario.Sample(name, 8<<20+1, 1); err != nil {
		t.Fatal(err)
	}
	if err := scan(name); err != nil {
		t.Fatal(err)
	}
	if gone, err := missing(name); err != nil || gone > 0.5 {
		t.Errorf("%.2f of a file that was just read is not in memory (%v)", gone, err)
	}
	if err := notTmpfs(dir); err != nil {
		return // its files never leave memory
	}
	if err := uncache(name); err != nil {
		t.Fatal(err)
	}
	if gone, err := missing(name); err != nil || gone < 0.5 {
		t.Errorf("%.2f of a file that was dropped is not in memory (%v), want nearly all", gone, err)
	}
	if err := uncache(filepath.Join(dir, "gone")); err == nil {
		t.Error("a file that isn't there was dropped")
	}
}
