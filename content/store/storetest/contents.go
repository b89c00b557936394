package storetest

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/p2pnode/p2pnode/content"
)

// Tests of contents that come and go whole.

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
