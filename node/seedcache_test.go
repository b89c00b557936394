package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store"
)

// readSeeds reads seeds once, and returns the pool and how many bytes were hashed.
func readSeeds(t *testing.T, c *seedCache, budget int64, paths ...string) (p *seedPool, hashed int64) {
	t.Helper()
	done, err := c.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	p, err = newSeedPool(t.Context(), paths, seedOptions{
		Workers: 2, Cache: c, Budget: budget, Log: zap.NewNop(), Progress: func(n int64) { hashed = n },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, hashed
}

// Files that are as they were aren't hashed again, and have all their blocks still.
func TestSeedsAreHashedOnce(t *testing.T) {
	dir := t.TempDir()
	large := sample(t, filepath.Join(dir, "large"), 5<<20+13, 1)
	small := sample(t, filepath.Join(dir, "small"), 100_000, 2)
	sample(t, filepath.Join(dir, "other"), 200_000, 3)
	const all = 5<<20 + 13 + 100_000 + 200_000
	cache := newSeedCache(maxSeedCache)
	if _, n := readSeeds(t, cache, 0, dir); n != all {
		t.Errorf("%d bytes were hashed at first", n)
	}
	p, n := readSeeds(t, cache, 0, dir)
	if n != 0 {
		t.Errorf("%d bytes were hashed again", n)
	}
	c, made := begun(t, large, small)
	if copied, err := c.Reuse(t.Context(), store.Pool(p)); err != nil || copied != made.Manifest.Size() {
		t.Errorf("%d of %d bytes were found, %v", copied, made.Manifest.Size(), err)
	}
	for name, change := range map[string]func() error{
		"written to":  func() error { return os.Chtimes(small, time.Now(), time.Unix(1_700_000_000, 0)) },
		"longer":      func() error { return os.Truncate(small, 100_001) },
		"another one": func() error { return os.Rename(sample(t, filepath.Join(t.TempDir(), "x"), 100_001, 4), small) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, n := readSeeds(t, cache, 0, dir); n < 100_000 || n > 100_001 {
			t.Errorf("%s: %d bytes were hashed", name, n)
		}
	}
}

// A get hashes so much and says what it left; what it hashed the next needn't.
func TestSeedsHaveABudget(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		sample(t, filepath.Join(dir, fmt.Sprint(i)), 100_000, uint64(i))
	}
	cache := newSeedCache(maxSeedCache)
	for turn := range 3 {
		p, n := readSeeds(t, cache, 450_000, dir)
		hashed, left := int64(400_000), int64(600_000-400_000*turn)
		if turn == 2 {
			hashed, left = 200_000, 0
		}
		if n != hashed || p.left != left || len(p.blocks) == 0 {
			t.Errorf("turn %d: %d bytes were hashed, %d left", turn, n, p.left)
		}
	}
	for missing, want := range map[int64]int64{0: 1 << 30, 64 << 20: 4 << 30, 4 << 30: 32 << 30, 10 << 30: 40 << 30} {
		if got := seedBudget(missing); got != want {
			t.Errorf("for %d bytes %d are read, want %d", missing, got, want)
		}
	}
}

// The cache is bounded. The files of one reading don't push out each other, those of
// the next push out what it doesn't use.
func TestSeedCacheIsBounded(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for i := range 10 {
		sample(t, filepath.Join(dir, fmt.Sprint(i)), 10_000, uint64(i))
		sample(t, filepath.Join(other, fmt.Sprint(i)), 10_000, uint64(20+i))
	}
	const one = 1 + seedFileCost // a block
	cache := newSeedCache(6 * one)
	for turn, want := range []struct {
		dir  string
		read int64
	}{{dir, 100_000}, {dir, 40_000}, {dir, 40_000}, {other, 100_000}, {other, 40_000}, {dir, 100_000}} {
		if _, n := readSeeds(t, cache, 0, want.dir); n != want.read {
			t.Errorf("turn %d: %d bytes were hashed", turn, n)
		}
		if cost := len(cache.files) * one; cost != cache.cost || cost > cache.limit {
			t.Errorf("turn %d: %d files at %d of %d", turn, len(cache.files), cache.cost, cache.limit)
		}
	}
	cache = newSeedCache(one - 1)
	if readSeeds(t, cache, 0, dir); len(cache.files) > 0 {
		t.Errorf("%d files are remembered", len(cache.files))
	}
}

// One reads seeds at a time, and who waits for that may be called off.
func TestSeedsAreReadOneAtATime(t *testing.T) {
	cache := newSeedCache(maxSeedCache)
	done, err := cache.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.begin(ctx); err != context.Canceled {
		t.Errorf("begun beside another: %v", err)
	}
	done()
	if done, err = cache.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	done()
}
