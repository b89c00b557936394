package store_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// versions returns two versions of a file: in the second a few blocks are new, a
// few are gone, and some others moved.
func versions(t testing.TB) (v1, v2 *storetest.Sample) {
	old := storetest.Bytes(1, 300, 4000)
	fresh := storetest.Bytes(2, 20, 4000)
	next := slices.Clone(old)
	next = slices.Insert(next, 3, fresh[:3]...)
	next = slices.Delete(next, 100, 107)
	for i, b := range fresh[3:] {
		next[110+7*i] = b
	}
	next = slices.Concat(next[200:230], next[:200], next[230:])
	return storetest.Compose(t, storetest.Part{Path: "f", Blocks: old}), storetest.Compose(t, storetest.Part{Path: "f", Blocks: next})
}

// whole fetches a sample into a store, and seals it.
func whole(t testing.TB, s *store.Store, sample *storetest.Sample) *store.Content {
	t.Helper()
	c := listed(t, s, sample)
	for _, r := range sample.Refs() {
		if _, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// listed begins a sample with all its lists.
func listed(t testing.TB, s *store.Store, sample *storetest.Sample) *store.Content {
	t.Helper()
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for chunk, node := range sample.Nodes {
		if err := c.SetBlocks(chunk, node); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// hashes returns the blocks of a sample.
func hashes(samples ...*storetest.Sample) map[content.Hash]bool {
	all := make(map[content.Hash]bool)
	for _, s := range samples {
		for _, list := range s.Blocks {
			for _, b := range list {
				all[b.Hash] = true
			}
		}
	}
	return all
}

// holdsJust checks that the blocks in known, and no others, are in c.
func holdsJust(t *testing.T, c *store.Content, sample *storetest.Sample, known map[content.Hash]bool) (size int64) {
	t.Helper()
	for chunk, list := range sample.Blocks {
		got := c.Verified(chunk)
		for i, b := range list {
			if has := got&(1<<i) != 0; has != known[b.Hash] {
				t.Errorf("block %d of chunk %d: here %v, want %v", i, chunk, has, known[b.Hash])
			}
			if known[b.Hash] {
				size += int64(b.Size)
			}
		}
	}
	right(t, c, sample)
	return size
}

func reuse(t *testing.T, c *store.Content, pools ...store.Pool) int64 {
	t.Helper()
	copied, err := c.Reuse(t.Context(), pools...)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestReuseCopiesWhatVersionsShare(t *testing.T) {
	v1, v2 := versions(t)
	dir := t.TempDir()
	s := open(t, store.Config{Dir: dir})
	whole(t, s, v1)
	c := listed(t, s, v2)
	copied := reuse(t, c)
	if want := holdsJust(t, c, v2, hashes(v1)); copied != want || copied == 0 || c.Progress() != want {
		t.Errorf("%d bytes were copied, %d are here, want %d", copied, c.Progress(), want)
	}
	if again := reuse(t, c); again > 0 {
		t.Errorf("%d bytes were copied again", again)
	}

	// What a kill leaves counts as verified, like what was fetched.
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, killed} {
		s := open(t, store.Config{Dir: dir})
		c, _ := s.Get(v2.ID)
		holdsJust(t, c, v2, hashes(v1))
		if again := reuse(t, c); again > 0 {
			t.Errorf("%d bytes were copied again", again)
		}
		c, blocks, _ := fetch(t, s, v2)
		if want := len(hashes(v1, v2)) - len(hashes(v1)); blocks != want {
			t.Errorf("%d blocks were fetched, want %d", blocks, want)
		}
		right(t, c, v2)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Without lists, what other contents have as whole chunks is copied with them, from
// partial contents too.
func TestReuseCopiesChunksWithTheirLists(t *testing.T) {
	v1, v2 := versions(t)
	for _, complete := range []bool{true, false} {
		s := open(t, store.Config{})
		var old *store.Content
		if complete {
			old = whole(t, s, v1)
		} else {
			old, _ = fetchMost(t, s, v1)
		}
		have := old.Have()
		c, err := s.Begin(v2.Encoded)
		if err != nil {
			t.Fatal(err)
		}
		copied := reuse(t, c)
		var want int64
		shared := 0
		for chunk, m := range v2.Manifest.Chunks {
			_, listed := c.Node(chunk)
			at := slices.IndexFunc(v1.Manifest.Chunks, func(o content.Chunk) bool { return o.Hash == m.Hash })
			if at >= 0 && !have.ContainsInt(at) {
				at = -1
			}
			if listed != (at >= 0) {
				t.Errorf("complete %v: chunk %d: list known %v, held elsewhere %v", complete, chunk, listed, at >= 0)
			}
			if at >= 0 {
				shared++
				want += int64(m.Size)
			}
		}
		if copied != want || c.Progress() != want || shared < 10 {
			t.Errorf("complete %v: %d bytes copied, want %d of %d chunks", complete, copied, want, shared)
		}
		right(t, c, v2)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReuseOfTreeWithMovedFiles(t *testing.T) {
	blocks := storetest.Bytes(1, 90, 4000)
	v1 := storetest.Compose(t, storetest.Part{Path: "a", Blocks: blocks[:30]}, storetest.Part{Path: "b", Blocks: blocks[30:31]}, storetest.Part{Path: "c", Blocks: blocks[31:]})
	v2 := storetest.Compose(t,
		storetest.Part{Path: "1", Blocks: blocks[31:]}, storetest.Part{Path: "2"},
		storetest.Part{Path: "3", Blocks: blocks[30:31]}, storetest.Part{Path: "4", Blocks: blocks[30:31]}, storetest.Part{Path: "5", Blocks: blocks[:30]})
	s := open(t, store.Config{})
	defer s.Close()
	whole(t, s, v1)
	c := listed(t, s, v2)
	if copied := reuse(t, c); copied != int64(len(v2.Data)) || !c.Complete() {
		t.Errorf("%d of %d bytes were copied", copied, len(v2.Data))
	}
	right(t, c, v2)
}

// A block that is damaged where it is held is taken from elsewhere, and counts no
// more where it was.
func TestReuseMeetsDamage(t *testing.T) {
	v1, v2 := versions(t)
	other := storetest.Compose(t, storetest.Part{Path: "other", Blocks: storetest.Bytes(1, 300, 4000)[:40]})
	for _, kind := range []string{"flip", "cut", "gone"} {
		for _, second := range []bool{false, true} {
			t.Run(kind, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, store.Config{Dir: dir})
				whole(t, s, v1)
				if second {
					whole(t, s, other)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				name := filepath.Join(dir, "content", v1.ID.String(), "files", "f")
				data := slices.Clone(v1.Data)
				const at = 1000
				var err error
				switch kind {
				case "flip":
					data[at] ^= 1
					err = os.WriteFile(name, data, 0o600)
				case "cut":
					data = data[:at]
					err = os.Truncate(name, at)
				case "gone":
					data = nil
					err = os.Remove(name)
				}
				if err != nil {
					t.Fatal(err)
				}
				s = open(t, store.Config{Dir: dir})
				old, _ := s.Get(v1.ID)
				known := make(map[content.Hash]bool)
				if second {
					known = hashes(other)
				}
				var pos int
				for _, list := range v1.Blocks {
					for _, b := range list {
						end := pos + int(b.Size)
						if end <= len(data) && string(data[pos:end]) == string(v1.Data[pos:end]) {
							known[b.Hash] = true
						}
						pos = end
					}
				}
				c := listed(t, s, v2)
				copied := reuse(t, c)
				if want := holdsJust(t, c, v2, known); copied != want {
					t.Errorf("%d bytes copied, want %d", copied, want)
				}
				if !second { // else the damage may not have been met
					if old.Complete() {
						t.Error("the damaged content passes for complete")
					}
					right(t, old, v1)
					if _, _, ok := s.Find(v1.Manifest.Chunks[0].Hash); ok {
						t.Error("a damaged chunk is found")
					}
				}
				wasComplete := old.Complete()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, store.Config{Dir: dir})
				defer s.Close()
				if old, _ = s.Get(v1.ID); old.Complete() != wasComplete {
					t.Error("damage was forgotten")
				}
			})
		}
	}
}

func TestReuseOfWhatWasRemoved(t *testing.T) {
	v1, v2 := versions(t)
	s := open(t, store.Config{})
	defer s.Close()
	whole(t, s, v1)
	if _, err := s.Known(t.Context(), v2.Manifest, v2.Blocks); err != nil { // it is indexed
		t.Fatal(err)
	}
	if err := s.Remove(v1.ID); err != nil {
		t.Fatal(err)
	}
	c := listed(t, s, v2)
	if copied := reuse(t, c); copied > 0 {
		t.Errorf("%d bytes copied of nothing", copied)
	}
	if known, err := s.Known(t.Context(), v2.Manifest, v2.Blocks); known > 0 || err != nil {
		t.Errorf("%d bytes known of nothing: %v", known, err)
	}

	// And while it is removed.
	for range 10 {
		whole(t, s, v1)
		if err := s.Remove(v2.ID); err != nil {
			t.Fatal(err)
		}
		c := listed(t, s, v2)
		var removing sync.WaitGroup
		removing.Go(func() {
			if err := s.Remove(v1.ID); err != nil {
				t.Error(err)
			}
		})
		reuse(t, c)
		removing.Wait()
		right(t, c, v2)
	}
	// The one that is copied to may be removed too.
	whole(t, s, v1)
	if err := s.Remove(v2.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reuse(t.Context()); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("copied to a content that was removed: %v", err)
	}
}

// A memoryPool has blocks in memory, and may be wrong about them.
type memoryPool struct {
	mu     sync.Mutex
	blocks map[content.Hash][]byte
	asked  int
}

func (p *memoryPool) ReadBlock(h content.Hash, buf []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	b, ok := p.blocks[h]
	return ok && copy(buf, b) == len(buf)
}

func TestReuseTakesFromPools(t *testing.T) {
	v1, v2 := versions(t)
	s := open(t, store.Config{})
	defer s.Close()
	c := listed(t, s, v2)
	honest := &memoryPool{blocks: make(map[content.Hash][]byte)}
	for _, r := range v1.Refs() {
		honest.blocks[v1.Blocks[r.Chunk][r.Block].Hash] = v1.Block(r.Chunk, r.Block)
	}
	liar := &memoryPool{blocks: make(map[content.Hash][]byte)}
	for _, r := range v2.Refs() {
		b := slices.Clone(v2.Block(r.Chunk, r.Block))
		b[0]++
		liar.blocks[v2.Blocks[r.Chunk][r.Block].Hash] = b
	}
	if copied := reuse(t, c, liar); copied > 0 {
		t.Errorf("%d wrong bytes were copied", copied)
	}
	copied := reuse(t, c, liar, honest)
	if want := holdsJust(t, c, v2, hashes(v1)); copied != want {
		t.Errorf("%d bytes copied, want %d", copied, want)
	}
	honest.asked = 0
	reuse(t, c, honest)
	if want := len(hashes(v1, v2)) - len(hashes(v1)); honest.asked != want {
		t.Errorf("asked for %d blocks, %d are missing", honest.asked, want)
	}
}

// The image of a disk that isn't full has the same blocks over and over, which are
// neither fetched nor looked for.
func TestReuseKnowsZeros(t *testing.T) {
	zero := make([]byte, content.MaxBlock)
	blocks := slices.Concat(storetest.Bytes(1, 2, 4000), slices.Repeat([][]byte{zero}, 10), storetest.Bytes(2, 2, 4000))
	sample := storetest.Compose(t, storetest.Part{Path: "disk.img", Blocks: blocks})
	s := open(t, store.Config{})
	defer s.Close()
	c := listed(t, s, sample)
	copied := reuse(t, c)
	if want := holdsJust(t, c, sample, map[content.Hash]bool{content.Sum(zero): true}); copied != want {
		t.Errorf("%d bytes copied, want %d", copied, want)
	}
}

func TestReuseIsCancelled(t *testing.T) {
	v1, v2 := versions(t)
	s := open(t, store.Config{})
	defer s.Close()
	whole(t, s, v1)
	c := listed(t, s, v2)
	ctx, cancel := context.WithCancel(t.Context())
	stop := stopPool{cancel}
	if _, err := c.Reuse(ctx, stop); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, and %v", err)
	}
	right(t, c, v2)
}

type stopPool struct{ cancel func() }

func (p stopPool) ReadBlock(content.Hash, []byte) bool { p.cancel(); return false }

// What is known of a content before it comes is the bytes of the blocks held.
func TestKnownCountsBlocks(t *testing.T) {
	v1, v2 := versions(t)
	s := open(t, store.Config{})
	defer s.Close()
	known := func(of *storetest.Sample) int64 {
		n, err := s.Known(t.Context(), of.Manifest, of.Blocks)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := known(v2); n != 0 {
		t.Errorf("%d bytes known of an empty store", n)
	}
	whole(t, s, v1)
	var want int64
	held := hashes(v1)
	for _, list := range v2.Blocks {
		for _, b := range list {
			if held[b.Hash] {
				want += int64(b.Size)
			}
			if s.HasBlock(b.Hash) && !held[b.Hash] {
				t.Error("a block is here that never came")
			}
		}
	}
	if n := known(v2); n != want || n == int64(len(v2.Data)) {
		t.Errorf("%d bytes known, want %d of %d", n, want, len(v2.Data))
	}
	if n := known(v1); n != int64(len(v1.Data)) {
		t.Errorf("%d bytes known, want all %d", n, len(v1.Data))
	}
	for h := range maps.Keys(held) {
		c, chunk, block, ok := s.FindBlock(h)
		if !ok {
			t.Fatal("a block isn't found")
		}
		if data, err := c.ReadBlock(chunk, block, nil); err != nil || content.Sum(data) != h {
			t.Fatalf("found, and not read: %v", err)
		}
	}
}

// Who adds or gets the next version right after the last finds its blocks.
func TestBlocksOfWhatHasJustComeAreKnown(t *testing.T) {
	sample := storetest.File(t, 7, 400_000, storetest.Small)
	s := open(t, store.Config{Dir: t.TempDir()}) // nobody runs it
	defer s.Close()
	fetch(t, s, sample)
	next := *sample.Manifest
	next.Chunks = slices.Clone(next.Chunks)
	for i := range next.Chunks {
		next.Chunks[i].Hash[0] ^= 1 // the same blocks in other chunks
	}
	if known, err := s.Known(t.Context(), &next, sample.Blocks); err != nil || known != int64(len(sample.Data)) {
		t.Errorf("%d of %d bytes are known, %v", known, len(sample.Data), err)
	}
}
