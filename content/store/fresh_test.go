package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// running opens a store that runs until the end of the test.
func running(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bigFile is the file of a tree that rots.
func bigFile(dir string, sample *storetest.Sample) string {
	return filepath.Join(dir, "content", sample.ID.String(), "files", "a", "deep", "big.bin")
}

// rotRounds is how often each kind of rot hits in TestNothingRottenIsServed.
const rotRounds = 10

// Whatever happens to a file, no wrong byte is given out: what is read again after
// the store was opened is hashed, what is wrong counts no more, its bringing is
// asked for, and the disk knows. (G16; N = rotRounds for each kind, seeds 0 on.)
func TestNothingRottenIsServed(t *testing.T) {
	sample := storetest.Tree(t, 1)
	for kind := range rots {
		for round := range rotRounds {
			t.Run(fmt.Sprintf("%s/%d", kind, round), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := open(t, store.Config{Dir: dir})
				fetch(t, s, sample)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				r := rand.New(rand.NewPCG(uint64(round), 3))
				before, err := os.ReadFile(bigFile(dir, sample))
				if err != nil {
					t.Fatal(err)
				}
				rot(t, r, kind, bigFile(dir, sample))
				after, _ := os.ReadFile(bigFile(dir, sample))

				told := make(chan content.ID, 100)
				s = running(t, store.Config{Dir: dir, Hooks: store.Hooks{Damaged: func(c *store.Content) { told <- c.ID() }}})
				c, ok := s.Get(sample.ID)
				if !ok || !c.Complete() {
					t.Fatal("not complete before anybody looked")
				}
				bad := 0
				for _, ref := range sample.Refs() {
					got, err := c.ReadBlock(ref.Chunk, ref.Block, nil)
					switch {
					case err == nil && !bytes.Equal(got, sample.Block(ref.Chunk, ref.Block)):
						t.Fatalf("wrong bytes of %v were read", ref)
					case errors.Is(err, content.ErrCorrupt):
						bad++
						if _, err := c.ReadBlock(ref.Chunk, ref.Block, nil); !errors.Is(err, content.ErrNotFound) {
							t.Errorf("%v the second time: %v", ref, err)
						}
					case err != nil:
						t.Errorf("read %v: %v", ref, err)
					}
				}
				if bytes.Equal(before, after) != (bad == 0) {
					t.Fatalf("%d blocks found bad", bad)
				}
				if bad == 0 {
					return
				}
				<-told
				if !c.Damaged() || c.Complete() || s.Stats().Damaged.Load() != int64(bad) {
					t.Errorf("damaged %v, complete %v, %d counted of %d", c.Damaged(), c.Complete(), s.Stats().Damaged.Load(), bad)
				}
				if _, blocks, _ := fetch(t, s, sample); blocks != bad {
					t.Errorf("%d blocks brought for %d", blocks, bad)
				}
				if c.Damaged() || s.Stats().Healed.Load() != int64(bad) {
					t.Errorf("damaged %v, %d healed of %d", c.Damaged(), s.Stats().Healed.Load(), bad)
				}
				right(t, c, sample)
			})
		}
	}
}

// That a content is damaged outlives the process, and the healing of it too.
func TestDamageIsRemembered(t *testing.T) {
	sample := storetest.Tree(t, 1)
	cfg := store.Config{Dir: t.TempDir()}
	s := open(t, cfg)
	fetch(t, s, sample)
	s, c := reopen(t, s, cfg, sample.ID)
	rot(t, rand.New(rand.NewPCG(1, 1)), "NUL fill", bigFile(cfg.Dir, sample))
	for _, ref := range sample.Refs() {
		c.ReadBlock(ref.Chunk, ref.Block, nil)
	}
	s, c = reopen(t, s, cfg, sample.ID)
	if !c.Damaged() || c.Complete() {
		t.Errorf("after the store was closed: damaged %v, complete %v", c.Damaged(), c.Complete())
	}
	fetch(t, s, sample)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.Damaged() {
		t.Error("damaged after all was brought")
	}
	if s, c = reopen(t, s, cfg, sample.ID); c.Damaged() || !c.Complete() {
		t.Errorf("healed, and after the store was closed: damaged %v, complete %v", c.Damaged(), c.Complete())
	}
	right(t, c, sample)
	s.Close()
}

// What was hashed lately isn't again; after a week without it is.
func TestBlocksStayFreshForSomeDays(t *testing.T) {
	sample := storetest.Tree(t, 1)
	for _, made := range []string{"written", "committed", "verified", "read"} {
		t.Run(made, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s, err := store.Open(store.Config{Dir: dir}, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { s.Close() }()
				var c *store.Content
				if made == "committed" {
					c = commit(t, s, sample)
				} else {
					c, _, _ = fetch(t, s, sample)
				}
				if made == "verified" || made == "read" {
					s, c = reopen(t, s, store.Config{Dir: dir}, sample.ID)
				}
				if made == "verified" {
					if _, err := c.Verify(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				}
				read := func() error {
					for _, ref := range sample.Refs() {
						if _, err := c.ReadBlock(ref.Chunk, ref.Block, nil); err != nil {
							return err
						}
					}
					return nil
				}
				if made == "read" {
					if err := read(); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				// From here on wrong bytes show whether there is a look.
				f, err := os.OpenFile(bigFile(dir, sample), os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte("wrong"), 50_000); err != nil {
					t.Fatal(err)
				}
				f.Close()
				for range 3 {
					if err := read(); err != nil {
						t.Fatalf("hashed again at once: %v", err)
					}
					time.Sleep(24 * time.Hour)
				}
				time.Sleep(4*24*time.Hour + time.Second)
				if err := read(); !errors.Is(err, content.ErrCorrupt) {
					t.Errorf("after a week: %v", err)
				}
			})
		})
	}
}

// commit publishes a sample.
func commit(t *testing.T, s *store.Store, sample *storetest.Sample) *store.Content {
	t.Helper()
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range sample.Manifest.Files {
		if f.Mode.IsDir() {
			if err := stage.Mkdir(f.Path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		w, err := stage.Create(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(sample.File(i)); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	c, err := stage.Commit(sample.Encoded, sample.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A copy isn't made of rotten bytes, and nothing of it is left.
func TestExportFindsDamageFirst(t *testing.T) {
	sample := storetest.Tree(t, 1)
	cfg := store.Config{Dir: t.TempDir()}
	s := open(t, cfg)
	fetch(t, s, sample)
	s, c := reopen(t, s, cfg, sample.ID)
	defer s.Close()
	rot(t, rand.New(rand.NewPCG(1, 1)), "bit flip", bigFile(cfg.Dir, sample))
	out := storetest.TempDir(t)
	target := filepath.Join(out, "copy")
	if err := c.Export(t.Context(), target, store.ExportOptions{}); !errors.Is(err, content.ErrCorrupt) {
		t.Fatalf("export of rotten bytes: %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, blocks, _ := fetch(t, s, sample); blocks != 1 {
		t.Errorf("%d blocks brought", blocks)
	}
	if err := c.Export(t.Context(), target, store.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sample.Check(target); err != nil {
		t.Error(err)
	}
}

// A linked copy is the user's to change: what the store reads of it is hashed
// every time.
func TestLinkedFilesAreNeverFresh(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := open(t, store.Config{})
	defer s.Close()
	c, _, _ := fetch(t, s, sample)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "copy")
	if err := c.Export(t.Context(), target, store.ExportOptions{Link: store.MustLink}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadBlock(0, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(target, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, make([]byte, 60_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("read of what the user changed: %v", err)
	}
}

// Readers, a verifier and a fetch that heals meet damage at one time.
func TestDamageIsFoundByManyAtOnce(t *testing.T) {
	sample := storetest.Tree(t, 1)
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	fetch(t, s, sample)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rot(t, rand.New(rand.NewPCG(1, 1)), "swap halves", bigFile(dir, sample))
	s = running(t, store.Config{Dir: dir, SyncEvery: time.Millisecond})
	c, _ := s.Get(sample.ID)
	var all sync.WaitGroup
	for seed := range uint64(4) {
		all.Go(func() {
			for _, ref := range sample.Shuffled(seed) {
				got, err := c.ReadBlock(ref.Chunk, ref.Block, nil)
				if err == nil && !bytes.Equal(got, sample.Block(ref.Chunk, ref.Block)) {
					t.Errorf("wrong bytes of %v were read", ref)
				}
				if err == nil {
					continue
				}
				if _, err := c.WriteBlock(ref.Chunk, ref.Block, sample.Block(ref.Chunk, ref.Block)); err != nil {
					t.Errorf("heal %v: %v", ref, err)
				}
			}
		})
	}
	all.Go(func() {
		if _, err := c.Verify(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	fetch(t, s, sample)
	right(t, c, sample)
}
