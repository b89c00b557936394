package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// linked returns a content of which an export is a link, and the link's name.
func linked(t *testing.T, s *Store, sample *storetest.Sample, o ExportOptions) (*Content, string) {
	t.Helper()
	c := begin(t, s, sample)
	put(t, c, sample, sample.Refs()...)
	target := filepath.Join(t.TempDir(), "copy")
	if err := c.Export(t.Context(), target, o); err != nil {
		t.Fatal(err)
	}
	return c, target
}

// Two writers find at one time that a file is the user's too. The second doesn't
// put the old bytes in the place of what the first has written.
func TestLinkedFileIsTakenOnce(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	c, target := linked(t, s, sample, ExportOptions{Link: MustLink})
	if err := os.Chmod(target, 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := c.openFile(0, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.openFile(0, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if first, err = c.unlink(0, first); err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.WriteAt([]byte("written"), 100); err != nil {
		t.Fatal(err)
	}
	if second, err = c.unlink(0, second); err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	got := make([]byte, 7)
	if _, err := second.ReadAt(got, 100); err != nil || string(got) != "written" {
		t.Errorf("%q, %v: what was written is in a file without a name", got, err)
	}
	if theirs, err := os.ReadFile(target); err != nil || !bytes.Equal(theirs, sample.Data) {
		t.Errorf("the user's copy is not what it was: %v", err)
	}
}

// What is linked is on the disk first: who asks for a durable copy may remove the
// content next.
func TestLinkedFilesAreSynced(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	o := ExportOptions{Link: MayLink, Durable: true}
	c, target := linked(t, s, sample, o)
	if c.partial != nil {
		t.Error("linked before it was synced")
	}
	if err := c.Export(t.Context(), target, o); err != nil { // it is there, and read-only
		t.Error(err)
	}
	want := sample.Manifest.Files[0].Mode.Perm()
	if info, err := os.Stat(target); err != nil || info.Mode().Perm()&0o200 != want&0o200 {
		t.Errorf("%v, want mode %v: %v", info.Mode(), want, err)
	}
}

// What a crash left of a file that was to be the content's own goes at Open.
func TestUnfinishedUnlinkIsSwept(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := storetest.TempDir(t)
	s := openAt(t, dir)
	c := begin(t, s, sample)
	left := filepath.Join(c.dir, ownPrefix+"0")
	if err := os.WriteFile(left, sample.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	defer openAt(t, dir).Close()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is there yet: %v", err)
	}
}

// A file that was open for writing when it was linked, since somebody was reading it,
// isn't written to any more: not by who opened it, and not by who is given it next.
func TestLinkedFileIsNotWrittenThroughAnOldHandle(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	for name, left := range map[string]func(t *testing.T, c *Content){
		"a reader's": func(*testing.T, *Content) {},
		"opened between the look and the link": func(t *testing.T, c *Content) {
			f, err := c.openFile(0, os.O_RDWR)
			if err != nil {
				t.Fatal(err)
			}
			c.store.files.unpin(c.store.files.add(slot{c, 0, true}, f))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAt(t, storetest.TempDir(t))
			defer s.Close()
			c := begin(t, s, sample)
			put(t, c, sample, sample.Refs()...)
			reader, err := c.pin(0, false)
			if err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(t.TempDir(), "copy")
			if err := c.Export(t.Context(), target, ExportOptions{Link: MustLink}); err != nil {
				t.Fatal(err)
			}
			c.store.files.unpin(reader)
			if err := os.Chmod(target, 0o600); err != nil {
				t.Fatal(err)
			}
			theirs := bytes.Clone(sample.Data)
			copy(theirs, "what the user writes")
			if err := os.WriteFile(target, theirs, 0o600); err != nil {
				t.Fatal(err)
			}
			first := sample.Refs()[0]
			c.damage(Damage{Chunk: first.Chunk, Blocks: 1 << first.Block, Err: content.ErrCorrupt})
			if err := c.noteDamage(); err != nil {
				t.Fatal(err)
			}
			left(t, c)
			put(t, c, sample, first)
			if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, theirs) {
				t.Errorf("the user's file was written to: it begins with %q, %v", got[:min(20, len(got))], err)
			}
			if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 || !c.Complete() {
				t.Errorf("verify: %v, %v, complete %v", bad, err, c.Complete())
			}
			s.files.mu.Lock()
			defer s.files.mu.Unlock()
			if s.files.dirt != 0 || len(s.files.dirty) > 0 || len(s.files.open) != s.files.idle.Len() {
				t.Errorf("%d files to be synced, %d of contents, %d open and %d idle",
					s.files.dirt, len(s.files.dirty), len(s.files.open), s.files.idle.Len())
			}
		})
	}
}

// A file that the user has too takes room when it becomes the content's own: what may
// go makes some, the floor holds, and where there is none it is read as it is.
func TestLinkedFileIsTakenAboveTheFloor(t *testing.T) {
	const floor = 1 << 20
	sample, other := storetest.File(t, 1, 300_000, storetest.Small), storetest.File(t, 2, 300_000, storetest.Small)
	var free atomic.Int64
	free.Store(1 << 30)
	s, err := Open(Config{
		Dir: storetest.TempDir(t), Floor: floor, Quota: NoLimit,
		Space: func(string) (uint64, uint64, error) { return uint64(free.Load()), 1 << 40, nil },
		Hooks: Hooks{Evicted: func(c *Content) { free.Add(c.cost) }},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, target := linked(t, s, sample, ExportOptions{Link: MustLink})
	old := begin(t, s, other)
	put(t, old, other, other.Refs()...)
	if err := old.Pin(true); err != nil {
		t.Fatal(err)
	}
	c.damage(Damage{Chunk: 0, Blocks: 1, Err: content.ErrCorrupt})
	if err := c.noteDamage(); err != nil {
		t.Fatal(err)
	}
	s.LookAgain()
	free.Store(floor + 200_000) // which would take half of it
	_, err = c.WriteBlock(0, 0, sample.Block(0, 0))
	if !errors.Is(err, content.ErrNoSpace) {
		t.Errorf("copied below the floor: %v", err)
	}
	last := sample.Refs()[len(sample.Refs())-1]
	if b, err := c.ReadBlock(last.Chunk, last.Block, nil); err != nil || !bytes.Equal(b, sample.Block(last.Chunk, last.Block)) {
		t.Errorf("not read: %v", err)
	}
	if links, err := os.Stat(target); err != nil || !sameFile(t, links, filepath.Join(c.dir, filesName, sample.Manifest.Files[0].Path)) {
		t.Errorf("copied to be read: %v", err)
	}
	if err := old.Pin(false); err != nil {
		t.Fatal(err)
	}
	old.SetLastUsed(time.Now().Add(-time.Hour))
	if _, err = c.WriteBlock(0, 0, sample.Block(0, 0)); err != nil || !c.Complete() {
		t.Errorf("nothing made room: %v", err)
	}
	if _, here := s.Get(other.ID); here {
		t.Error("there was room")
	}
	if theirs, err := os.ReadFile(target); err != nil || !bytes.Equal(theirs, sample.Data) {
		t.Errorf("the user's copy is not what it was: %v", err)
	}
}

func sameFile(t *testing.T, a os.FileInfo, name string) bool {
	t.Helper()
	b, err := os.Stat(name)
	return err == nil && os.SameFile(a, b)
}
