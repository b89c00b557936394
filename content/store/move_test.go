package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A store that is copied has everything, however often the copy was cut off.
func TestCopyGoesOnWhereItWasCut(t *testing.T) {
	whole, part := storetest.Tree(t, 1), storetest.File(t, 2, 3<<20, storetest.Large)
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "deep", "to")
	s := open(t, store.Config{Dir: from})
	c, _, _ := fetch(t, s, whole)
	if err := c.Pin(true); err != nil {
		t.Fatal(err)
	}
	fetchMost(t, s, part)
	if err := store.Copy(t.Context(), from, to, nil); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("copied while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var cuts int
	for {
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		err := store.Copy(ctx, from, to, func(done, total int64) {
			if steps++; steps > 2*cuts {
				cancel()
			}
		})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cuts++
	}
	if cuts < 3 {
		t.Errorf("cut off %d times", cuts)
	}
	for _, dir := range []string{to, from} {
		s := open(t, store.Config{Dir: dir})
		c, ok := s.Get(whole.ID)
		if !ok || !c.Complete() || !c.Pinned() {
			t.Fatalf("%s: here %v", dir, ok)
		}
		right(t, c, whole)
		p, ok := s.Get(part.ID)
		if !ok || p.Complete() || p.Progress() == 0 {
			t.Fatalf("%s: the partial one is here %v", dir, ok)
		}
		if _, blocks, lists := fetch(t, s, part); blocks != 1 || lists != 0 {
			t.Errorf("%s: %d blocks and %d lists had to be brought", dir, blocks, lists)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyLeavesOthersAlone(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := open(t, store.Config{Dir: from}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "photo"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Copy(t.Context(), from, to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a folder of somebody else's: %v", err)
	}
	for _, bad := range []string{from, filepath.Join(from, "content", "x"), filepath.Dir(from)} {
		if err := store.Copy(t.Context(), from, bad, nil); !errors.Is(err, content.ErrPath) {
			t.Errorf("into itself (%s): %v", bad, err)
		}
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
