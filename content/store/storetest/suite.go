package storetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// A Store is what the suite asks of a store whose contents are C, and stages S.
type Store[C Content, S Stage[C]] interface {
	Stage() (S, error)
	Begin(content.Encoded) (C, error)
	Get(content.ID) (C, bool)
	List() []C
	Find(chunk content.Hash) (c C, ordinal int, ok bool)
	Remove(content.ID) error
	Close() error
}

// A Content is what the suite asks of one content.
type Content interface {
	comparable
	ID() content.ID
	Manifest() *content.Manifest
	Encoded() content.Encoded
	Blocks(chunk int) ([]content.Block, bool)
	Node(chunk int) ([]byte, bool)
	SetBlocks(chunk int, node []byte) error
	Verified(chunk int) uint64
	Have() *roaring.Bitmap
	Complete() bool
	Progress() int64
	Changed() <-chan struct{}
	WriteBlock(chunk, block int, data []byte) (fresh bool, err error)
	ReadBlock(chunk, block int, buf []byte) ([]byte, error)
	Flush(context.Context) error
	Releases() [][]byte
	AddRelease(envelope []byte) error
}

// A Stage is what the suite asks of a stage.
type Stage[C Content] interface {
	Mkdir(path string) error
	Create(path string) (*os.File, error)
	Open(path string) (*os.File, error)
	Commit(content.Encoded, [][]content.Block) (C, error)
	Abort() error
}

// Run runs the suite. open opens the store that is kept in dir, and doesn't close
// it; each test opens its own, and some again after they closed it.
func Run[C Content, S Stage[C], T Store[C, S]](t *testing.T, open func(t *testing.T, dir string) T) {
	s := suite[C, S, T]{open}
	t.Run("FetchedBlocksCanBeRead", s.fetched)
	t.Run("WrongBytesNeverCount", s.wrong)
	t.Run("BlocksCountOnce", s.once)
	t.Run("PublishedContentIsComplete", s.published)
	t.Run("PublishingWhatIsHere", s.publishedTwice)
	t.Run("PublishingChecks", s.publishedWrong)
	t.Run("NothingIsReadUnverified", s.unverified)
	t.Run("ProgressSurvivesClose", s.reopened)
	t.Run("ChunksAreFoundWhereTheyAre", s.found)
	t.Run("RemovedContentIsGone", s.removed)
	t.Run("RemoveWhileInUse", s.removedInUse)
	t.Run("ChangesAreTold", s.changes)
	t.Run("ReleasesAreKept", s.releases)
	t.Run("ManyAtOnce", s.concurrent)
	t.Run("EmptyContentIsComplete", s.empty)
	t.Run("ClosedStoreRefuses", s.closed)
}

type suite[C Content, S Stage[C], T Store[C, S]] struct {
	open func(t *testing.T, dir string) T
}

// store opens a new store that is closed at the end of the test.
func (s suite[C, S, T]) store(t *testing.T) T {
	st := s.open(t, t.TempDir())
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return st
}

// begin begins a sample whose block lists are known.
func (s suite[C, S, T]) begin(t *testing.T, st T, sample *Sample) C {
	t.Helper()
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range sample.Nodes {
		if err := c.SetBlocks(i, node); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// put writes blocks, each of which must be fresh.
func put[C Content](t *testing.T, c C, sample *Sample, refs ...Ref) {
	t.Helper()
	for _, r := range refs {
		if fresh, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block)); err != nil || !fresh {
			t.Fatalf("write %v: fresh %v, %v", r, fresh, err)
		}
	}
}

// check checks that exactly these blocks of the sample are in c, with their bytes.
func check[C Content](t *testing.T, c C, sample *Sample, refs []Ref) {
	t.Helper()
	masks := make([]uint64, len(sample.Blocks))
	have := roaring.New()
	var size int64
	for _, r := range refs {
		masks[r.Chunk] |= 1 << r.Block
		size += int64(sample.Blocks[r.Chunk][r.Block].Size)
	}
	var buf []byte
	for chunk, list := range sample.Blocks {
		if masks[chunk] == 1<<len(list)-1 {
			have.Add(uint32(chunk))
		}
		if got := c.Verified(chunk); got != masks[chunk] {
			t.Errorf("chunk %d: verified %b, want %b", chunk, got, masks[chunk])
		}
		for block := range list {
			got, err := c.ReadBlock(chunk, block, buf)
			if masks[chunk]&(1<<block) == 0 {
				if !errors.Is(err, content.ErrNotFound) {
					t.Errorf("read of block %d of chunk %d, which isn't here: %v", block, chunk, err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, sample.Block(chunk, block)) {
				t.Errorf("read block %d of chunk %d: wrong bytes, or %v", block, chunk, err)
			}
			buf = got
		}
	}
	if got := c.Have(); !got.Equals(have) {
		t.Errorf("have %v, want %v", got, have)
	}
	if got := c.Progress(); got != size {
		t.Errorf("progress %d, want %d", got, size)
	}
	if got, want := c.Complete(), size == int64(len(sample.Data)); got != want {
		t.Errorf("complete: %v, want %v", got, want)
	}
}

func (s suite[C, S, T]) fetched(t *testing.T) {
	for _, sample := range []*Sample{File(t, 1, 100_000, Small), Tree(t, 2)} {
		st := s.store(t)
		c := s.begin(t, st, sample)
		if c.ID() != sample.ID || !bytes.Equal(c.Encoded().Root, sample.Root) {
			t.Error("another content began")
		}
		for i, node := range sample.Nodes {
			got, ok := c.Node(i)
			list, ok2 := c.Blocks(i)
			if !ok || !ok2 || !bytes.Equal(got, node) || len(list) != len(sample.Blocks[i]) {
				t.Errorf("list of chunk %d is another", i)
			}
		}
		refs := sample.Shuffled(3)
		check(t, c, sample, nil)
		put(t, c, sample, refs[:len(refs)/2]...)
		check(t, c, sample, refs[:len(refs)/2])
		put(t, c, sample, refs[len(refs)/2:]...)
		check(t, c, sample, refs)
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		check(t, c, sample, refs)
		if again, err := st.Begin(sample.Encoded); err != nil || again != c {
			t.Errorf("begun again: another, or %v", err)
		}
	}
}

func (s suite[C, S, T]) wrong(t *testing.T) {
	sample, other := File(t, 1, 50_000, Small), File(t, 2, 50_000, Small)
	st := s.store(t)
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteBlock(0, 0, sample.Block(0, 0)); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("block of a chunk without list: %v", err)
	}
	if err := c.SetBlocks(0, other.Nodes[0]); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("list of another chunk: %v", err)
	}
	if err := c.SetBlocks(len(sample.Nodes), sample.Nodes[0]); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("list of a chunk beyond the last: %v", err)
	}
	if _, ok := c.Blocks(0); ok {
		t.Error("a wrong list was taken")
	}
	if err := c.SetBlocks(0, sample.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	right := sample.Block(0, 1)
	flipped := bytes.Clone(right)
	flipped[len(flipped)/2] ^= 4
	for name, data := range map[string][]byte{
		"flipped": flipped, "short": right[:len(right)-1], "long": append(bytes.Clone(right), 0),
		"another block": sample.Block(0, 2), "nothing": nil,
	} {
		if fresh, err := c.WriteBlock(0, 1, data); fresh || !errors.Is(err, content.ErrCorrupt) {
			t.Errorf("%s: fresh %v, %v", name, fresh, err)
		}
	}
	for _, r := range []Ref{{0, -1}, {0, len(sample.Blocks[0])}, {-1, 0}, {len(sample.Blocks), 0}} {
		if _, err := c.WriteBlock(r.Chunk, r.Block, right); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("write of block %v: %v", r, err)
		}
		if _, err := c.ReadBlock(r.Chunk, r.Block, nil); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("read of block %v: %v", r, err)
		}
	}
	check(t, c, sample, nil)
	bad := sample.Encoded
	bad.Root = bytes.Clone(bad.Root)
	bad.Root[20] ^= 1
	if _, err := st.Begin(bad); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("begin with a damaged manifest: %v", err)
	}
}

func (s suite[C, S, T]) once(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	c := s.begin(t, s.store(t), sample)
	refs := sample.Refs()
	put(t, c, sample, refs...)
	for _, data := range [][]byte{sample.Block(0, 0), []byte("anything")} {
		if fresh, err := c.WriteBlock(0, 0, data); fresh || err != nil {
			t.Errorf("a block twice: fresh %v, %v", fresh, err)
		}
	}
	check(t, c, sample, refs)
}

// publish publishes a sample, whole.
func (s suite[C, S, T]) publish(t *testing.T, st T, sample *Sample) C {
	t.Helper()
	c, err := s.stage(t, st, sample).Commit(sample.Encoded, sample.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stage fills a stage with the files of a sample.
func (s suite[C, S, T]) stage(t *testing.T, st T, sample *Sample) S {
	t.Helper()
	stage, err := st.Stage()
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
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return stage
}

func (s suite[C, S, T]) published(t *testing.T) {
	for _, sample := range []*Sample{File(t, 1, 100_000, Small), Tree(t, 2)} {
		dir := t.TempDir()
		st := s.open(t, dir)
		c := s.publish(t, st, sample)
		check(t, c, sample, sample.Refs())
		if got, ok := st.Get(sample.ID); !ok || got != c {
			t.Error("published, and not there")
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = s.open(t, dir)
		c, ok := st.Get(sample.ID)
		if !ok {
			t.Fatal("published, and gone after the store was closed")
		}
		check(t, c, sample, sample.Refs())
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s suite[C, S, T]) publishedTwice(t *testing.T) {
	sample := Tree(t, 1)
	st := s.store(t)
	first := s.publish(t, st, sample)
	if second := s.publish(t, st, sample); second != first {
		t.Error("published twice, and kept twice")
	}
	if err := s.stage(t, st, File(t, 2, 1000, Small)).Abort(); err != nil {
		t.Error(err)
	}

	// What was fetched in part is whole once published.
	part := File(t, 3, 60_000, Small)
	c := s.begin(t, st, part)
	put(t, c, part, part.Refs()[:4]...)
	if err := c.AddRelease([]byte("signed")); err != nil {
		t.Fatal(err)
	}
	c = s.publish(t, st, part)
	check(t, c, part, part.Refs())
	if r := c.Releases(); len(r) != 1 || string(r[0]) != "signed" {
		t.Errorf("releases after publishing: %q", r)
	}
	if got := len(st.List()); got != 2 {
		t.Errorf("%d contents, want 2", got)
	}
}

func (s suite[C, S, T]) publishedWrong(t *testing.T) {
	sample, other := File(t, 1, 60_000, Small), File(t, 2, 50_000, Small)
	st := s.store(t)
	if _, err := s.stage(t, st, other).Commit(sample.Encoded, sample.Blocks); !errors.Is(err, content.ErrChanged) {
		t.Errorf("a file of another size: %v", err)
	}
	if _, err := s.stage(t, st, sample).Commit(sample.Encoded, sample.Blocks[1:]); !errors.Is(err, content.ErrFormat) {
		t.Errorf("a list too few: %v", err)
	}
	wrong := append([][]content.Block{other.Blocks[0]}, sample.Blocks[1:]...)
	if _, err := s.stage(t, st, sample).Commit(sample.Encoded, wrong); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("a wrong list: %v", err)
	}
	stage, err := st.Stage()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../out", "/etc/out", "a/../../out"} {
		if f, err := stage.Create(path); err == nil {
			t.Errorf("%s was made, outside", path)
			f.Close()
		}
	}
	if _, err := stage.Commit(sample.Encoded, sample.Blocks); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was not staged: %v", err)
	}
	if got := st.List(); len(got) != 0 {
		t.Errorf("%d contents, want none", len(got))
	}
}

func (s suite[C, S, T]) unverified(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	c := s.begin(t, s.store(t), sample)
	if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("read of a block that isn't here: %v", err)
	}
	put(t, c, sample, Ref{0, 0}, Ref{1, 2})
	check(t, c, sample, []Ref{{0, 0}, {1, 2}})
}

func (s suite[C, S, T]) reopened(t *testing.T) {
	for _, sample := range []*Sample{File(t, 1, 200_000, Small), Tree(t, 2)} {
		dir := t.TempDir()
		refs := sample.Shuffled(5)
		for n := 0; ; {
			st := s.open(t, dir)
			c := s.begin(t, st, sample) // lists that are known are no error
			check(t, c, sample, refs[:n])
			more := min(7, len(refs)-n)
			put(t, c, sample, refs[n:n+more]...)
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if n += more; more == 0 {
				break
			}
		}
	}
}

func (s suite[C, S, T]) found(t *testing.T) {
	sample := File(t, 1, 100_000, Small)
	st := s.store(t)
	c := s.begin(t, st, sample)
	list := sample.Blocks[1]
	for block := range list {
		if _, _, ok := st.Find(sample.Manifest.Chunks[1].Hash); ok {
			t.Fatal("a chunk was found before it was whole")
		}
		put(t, c, sample, Ref{1, block})
	}
	where, ordinal, ok := st.Find(sample.Manifest.Chunks[1].Hash)
	if !ok || where != c || ordinal != 1 {
		t.Errorf("chunk found: %v, at %d", ok, ordinal)
	}
	if _, _, ok := st.Find(sample.Manifest.Chunks[0].Hash); ok {
		t.Error("a chunk that isn't here was found")
	}

	// The same chunk in two contents is found as long as one of them is here.
	files := sample.Manifest.Files[0]
	files.Path = "another name"
	twin := New(t, 1, Small, files)
	if twin.ID == sample.ID || twin.Nodes[1] == nil || !bytes.Equal(twin.Nodes[1], sample.Nodes[1]) {
		t.Fatal("the samples don't share chunks")
	}
	c2 := s.publish(t, st, twin)
	if err := st.Remove(sample.ID); err != nil {
		t.Fatal(err)
	}
	if where, ordinal, ok := st.Find(sample.Manifest.Chunks[1].Hash); !ok || where != c2 || ordinal != 1 {
		t.Errorf("chunk found in what is left: %v, at %d", ok, ordinal)
	}
}

func (s suite[C, S, T]) removed(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	dir := t.TempDir()
	st := s.open(t, dir)
	if err := st.Remove(sample.ID); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("remove of what isn't here: %v", err)
	}
	c := s.begin(t, st, sample)
	put(t, c, sample, sample.Refs()...)
	if err := st.Remove(sample.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("read of a removed content: %v", err)
	}
	if _, err := c.WriteBlock(0, 0, sample.Block(0, 0)); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("write to a removed content: %v", err)
	}
	if _, _, ok := st.Find(sample.Manifest.Chunks[0].Hash); ok {
		t.Error("a chunk of a removed content was found")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = s.open(t, dir)
	if _, ok := st.Get(sample.ID); ok {
		t.Error("a removed content came back")
	}
	c = s.begin(t, st, sample)
	check(t, c, sample, nil)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s suite[C, S, T]) removedInUse(t *testing.T) {
	sample := File(t, 1, 400_000, Small)
	st := s.store(t)
	c := s.publish(t, st, sample)
	var reading, done sync.WaitGroup
	for range 4 {
		reading.Add(1)
		done.Go(func() {
			var buf []byte
			for n := 0; ; n++ {
				r := sample.Refs()[n%len(sample.Refs())]
				got, err := c.ReadBlock(r.Chunk, r.Block, buf)
				if errors.Is(err, content.ErrNotFound) {
					return
				}
				if err != nil || !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
					t.Errorf("read while removed: wrong bytes, or %v", err)
					return
				}
				if buf = got; n == 10 {
					reading.Done()
				}
			}
		})
	}
	reading.Wait()
	if err := st.Remove(sample.ID); err != nil {
		t.Error(err)
	}
	done.Wait()
}

func (s suite[C, S, T]) changes(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	st := s.store(t)
	c := s.begin(t, st, sample)
	changed := c.Changed()
	for block := range sample.Blocks[0] {
		select {
		case <-changed:
			t.Fatal("told of a chunk before it is whole")
		default:
		}
		put(t, c, sample, Ref{0, block})
	}
	<-changed // or the test times out
	changed = c.Changed()
	select {
	case <-changed:
		t.Error("told of a change that was before the call")
	default:
	}
	if err := st.Remove(sample.ID); err != nil {
		t.Fatal(err)
	}
	<-changed
	<-c.Changed()
}

func (s suite[C, S, T]) releases(t *testing.T) {
	sample := File(t, 1, 5_000, Small)
	dir := t.TempDir()
	st := s.open(t, dir)
	c := s.publish(t, st, sample)
	for _, r := range []string{"one", "two", "one"} {
		if err := c.AddRelease([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddRelease(nil); !errors.Is(err, content.ErrFormat) {
		t.Errorf("an empty release: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = s.open(t, dir)
	c, _ = st.Get(sample.ID)
	if got := bytes.Join(c.Releases(), []byte(" ")); string(got) != "one two" {
		t.Errorf("releases %q", got)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s suite[C, S, T]) concurrent(t *testing.T) {
	sample := Tree(t, 1)
	st := s.store(t)
	c, err := st.Begin(sample.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	// Three write everything, in different orders, while others read and flush.
	var fresh [3]int
	var writers, others errgroup.Group
	for w := range fresh {
		writers.Go(func() error {
			for _, r := range sample.Shuffled(uint64(w)) {
				if err := c.SetBlocks(r.Chunk, sample.Nodes[r.Chunk]); err != nil {
					return err
				}
				f, err := c.WriteBlock(r.Chunk, r.Block, sample.Block(r.Chunk, r.Block))
				if err != nil {
					return err
				}
				if f {
					fresh[w]++
				}
			}
			return nil
		})
	}
	for w := range 2 {
		others.Go(func() error {
			for !c.Complete() {
				for _, r := range sample.Shuffled(uint64(w + 7)) {
					got, err := c.ReadBlock(r.Chunk, r.Block, nil)
					if err == nil && !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
						return errors.New("read wrong bytes")
					}
					if err != nil && !errors.Is(err, content.ErrNotFound) {
						return err
					}
				}
				c.Have()
				st.Find(sample.Manifest.Chunks[0].Hash)
			}
			return nil
		})
	}
	others.Go(func() error {
		for !c.Complete() {
			if err := c.Flush(t.Context()); err != nil {
				return err
			}
		}
		return c.Flush(t.Context())
	})
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := others.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := fresh[0]+fresh[1]+fresh[2], len(sample.Refs()); got != want {
		t.Errorf("%d blocks counted, there are %d", got, want)
	}
	check(t, c, sample, sample.Refs())
}

func (s suite[C, S, T]) empty(t *testing.T) {
	dir := t.TempDir()
	for _, sample := range []*Sample{
		File(t, 1, 0, Small),
		New(t, 2, Small, content.File{Path: ".", Mode: fs.ModeDir | 0o755}),
	} {
		st := s.open(t, dir)
		c, err := st.Begin(sample.Encoded)
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, sample, nil)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = s.open(t, dir)
		if c, ok := st.Get(sample.ID); !ok || !c.Complete() {
			t.Error("an empty content is not complete")
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s suite[C, S, T]) closed(t *testing.T) {
	sample := File(t, 1, 50_000, Small)
	st := s.open(t, t.TempDir())
	c := s.begin(t, st, sample)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteBlock(0, 0, sample.Block(0, 0)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := c.ReadBlock(0, 0, nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := st.Begin(sample.Encoded); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("begin after close: %v", err)
	}
	if _, ok := st.Get(sample.ID); ok {
		t.Error("a closed store has contents")
	}
}
