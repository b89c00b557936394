package store_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// shares reports whether files in dir can share their bytes: then there are no drafts.
func shares(t *testing.T, dir string) bool {
	t.Helper()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(from.Name())
	defer from.Close()
	if _, err := from.Write(make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	defer os.Remove(to)
	if disk.CloneTo(to, from) == nil {
		return true
	}
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return disk.Clone(f, from) == nil
}

// drafted begins a draft of c at target, and returns it once it has what is here of c.
func drafted(t *testing.T, c *store.Content, target string) *store.Draft {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan *store.Draft, 1)
	go func() { done <- c.Draft(ctx, target) }()
	var want int64
	for _, chunk := range c.Have().ToArray() {
		want = max(want, c.Layout().Chunk(int(chunk))+int64(c.Manifest().Chunks[chunk].Size))
	}
	for {
		select {
		case d := <-done: // all is copied, or nothing is to be
			stop()
			return d
		case <-time.After(time.Millisecond):
		}
		if info, err := os.Stat(draftAt(t, target)); err == nil && info.Size() == want {
			stop()
			return <-done
		}
	}
}

// draftAt returns where a draft is, if there is one.
func draftAt(t *testing.T, target string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(target), ".p2pnode-*"))
	if err != nil || len(names) > 1 {
		t.Fatalf("%q, %v", names, err)
	}
	return strings.Join(names, "")
}

func TestDraftBecomesTheCopy(t *testing.T) {
	sample := storetest.File(t, 1, 300_000, storetest.Small)
	for _, durable := range []bool{false, true} {
		s := open(t, store.Config{})
		c, _ := fetchMost(t, s, sample)
		dir := storetest.TempDir(t)
		target := filepath.Join(dir, "copy")
		d := drafted(t, c, target)
		if shared := shares(t, dir); (d == nil) != shared {
			t.Fatalf("files share bytes: %v, draft: %v", shared, d)
		}
		begun, _ := os.Stat(draftAt(t, target))
		fetch(t, s, sample)
		var done int64
		o := store.ExportOptions{Durable: durable, Draft: d, Progress: func(n, _ int64) { done = n }}
		if err := c.Export(t.Context(), target, o); err != nil {
			t.Fatal(err)
		}
		if err := sample.Check(target); err != nil {
			t.Error(err)
		}
		copied, err := os.Stat(target)
		if err != nil || d != nil && !os.SameFile(begun, copied) {
			t.Errorf("the draft wasn't used, %v", err)
		}
		if done != int64(len(sample.Data)) {
			t.Errorf("progress ended at %d of %d", done, len(sample.Data))
		}
		leftovers(t, dir)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A draft of what turned out bad meanwhile, that somebody moved away, or that is of
// another place, isn't used.
func TestDraftThatMayBeWrongIsNotUsed(t *testing.T) {
	sample := storetest.File(t, 1, 300_000, storetest.Small)
	for name, spoil := range map[string]func(c *store.Content, dir, target string) string{
		"rot": func(c *store.Content, dir, target string) string {
			rot(t, rand.New(rand.NewPCG(1, 1)), "NUL fill", filepath.Join(dir, "content", sample.ID.String(), "files", sample.Manifest.Files[0].Path))
			if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) == 0 {
				t.Fatalf("damage found: %v, %v", bad, err)
			}
			return target
		},
		"another file": func(_ *store.Content, _, target string) string {
			draft := draftAt(t, target)
			if err := os.Rename(draft, filepath.Join(filepath.Dir(target), "away")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(draft, make([]byte, len(sample.Data)), 0o600); err != nil {
				t.Fatal(err)
			}
			return target
		},
		"another place": func(_ *store.Content, _, target string) string { return target + "2" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := storetest.TempDir(t)
			if shares(t, dir) {
				return // TestDraftBecomesTheCopy says that there is no draft
			}
			cfg := store.Config{Dir: t.TempDir()}
			s := open(t, cfg)
			defer s.Close()
			c, _ := fetchMost(t, s, sample)
			target := filepath.Join(dir, "copy")
			d := drafted(t, c, target)
			begun, err := os.Stat(draftAt(t, target))
			if err != nil {
				t.Fatal(err)
			}
			to := spoil(c, cfg.Dir, target)
			fetch(t, s, sample)
			if err := c.Export(t.Context(), to, store.ExportOptions{Draft: d}); err != nil {
				t.Fatal(err)
			}
			if err := sample.Check(to); err != nil {
				t.Error(err)
			}
			if copied, err := os.Stat(to); err != nil || os.SameFile(begun, copied) {
				t.Errorf("the draft was used, %v", err)
			}
			leftovers(t, dir)
		})
	}
}

func TestNoDraftWhereThereIsNothingToGain(t *testing.T) {
	file, tree := storetest.File(t, 1, 300_000, storetest.Small), storetest.Tree(t, 1)
	dir := storetest.TempDir(t)
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	room := func(free uint64) store.Config {
		return store.Config{Floor: 1000, Space: func(string) (uint64, uint64, error) { return free, 1 << 40, nil }}
	}
	for name, test := range map[string]struct {
		cfg    store.Config
		sample *storetest.Sample
		all    bool
		target string
	}{
		"tree":      {sample: tree, target: filepath.Join(dir, "tree")},
		"all here":  {sample: file, all: true, target: filepath.Join(dir, "all")},
		"not empty": {sample: file, target: there},
		"no folder": {sample: file, target: filepath.Join(dir, "none", "copy")},
		"no room":   {cfg: room(600_999), sample: file, target: filepath.Join(dir, "room")},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, test.cfg)
			defer s.Close()
			c, _ := fetchMost(t, s, test.sample)
			if test.all {
				c, _, _ = fetch(t, s, test.sample)
			}
			if d := c.Draft(t.Context(), test.target); d != nil {
				d.Discard()
				t.Error("there is a draft")
			}
			leftovers(t, dir)
		})
	}
}

// A draft ends with its content, leaves nothing when it isn't needed any more, and what
// a crash left of one is gone with the next copy.
func TestDraftLeavesNothing(t *testing.T) {
	sample := storetest.File(t, 1, 300_000, storetest.Small)
	dir := storetest.TempDir(t)
	target := filepath.Join(dir, "copy")
	s := open(t, store.Config{})
	defer s.Close()
	c, _ := fetchMost(t, s, sample)
	drafted(t, c, target).Discard()
	leftovers(t, dir)

	d := drafted(t, c, target)
	left := draftAt(t, target)
	d.Discard()
	if left != "" { // as a kill would leave it
		if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fetch(t, s, sample)
	if err := c.Export(t.Context(), target, store.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sample.Check(target); err != nil {
		t.Error(err)
	}
	leftovers(t, dir)

	other := storetest.File(t, 2, 300_000, storetest.Small)
	c, _ = fetchMost(t, s, other)
	ended := make(chan *store.Draft)
	go func() { ended <- c.Draft(t.Context(), filepath.Join(dir, "other")) }()
	if err := s.Remove(other.ID); err != nil {
		t.Fatal(err)
	}
	if d := <-ended; d != nil {
		t.Error("a draft outlived its content")
	}
	leftovers(t, dir)
}
