package store_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A draft has holes, which a stick with FAT fills with zeros: it is written on the
// store's own file system only.
func TestDraftStaysOnTheDisk(t *testing.T) {
	sample := storetest.File(t, 1, 300_000, storetest.Small)
	s := open(t, store.Config{Dir: t.TempDir()})
	defer s.Close()
	c, _ := fetchMost(t, s, sample)
	for _, base := range []string{"/dev/shm", "/tmp", "/var/tmp"} {
		dir, err := os.MkdirTemp(base, "p2pnode-")
		if err != nil {
			continue // not there
		}
		defer os.RemoveAll(dir)
		want := device(t, dir) == device(t, s.Dir()) && !shares(t, dir)
		d := drafted(t, c, filepath.Join(dir, "copy"))
		if (d != nil) != want {
			t.Errorf("%s: a draft: %v, want one: %v", dir, d != nil, want)
		}
		d.Discard()
		leftovers(t, dir)
	}
}

// device returns which file system a folder is on.
func device(t *testing.T, dir string) uint64 {
	t.Helper()
	var s syscall.Stat_t
	if err := syscall.Stat(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Dev
}
