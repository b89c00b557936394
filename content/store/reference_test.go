package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// inPlace writes the files of a sample to a folder of a user's, and makes a content
// that stands on them.
func inPlace(t *testing.T, s *store.Store, sample *storetest.Sample) (c *store.Content, dir string) {
	t.Helper()
	dir = storetest.TempDir(t)
	if c = reference(t, s, sample, dir); !c.Complete() || !c.InPlace() {
		t.Fatalf("complete %v, in place %v", c.Complete(), c.InPlace())
	}
	return c, dir
}

func reference(t *testing.T, s *store.Store, sample *storetest.Sample, dir string) *store.Content {
	t.Helper()
	sources := make([]store.Source, len(sample.Manifest.Files))
	for i, f := range sample.Manifest.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if f.Mode.IsDir() {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		if _, err := os.Lstat(path); err != nil {
			must(t, os.WriteFile(path, sample.File(i), 0o644))
			must(t, os.Chtimes(path, f.ModTime, f.ModTime))
		}
		info, err := os.Lstat(path)
		must(t, err)
		sources[i] = store.Source{Path: path, Info: info}
	}
	c, err := s.Reference(sample.Encoded, sample.Blocks, sources)
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, Floor: store.NoFloor}, zap.NewNop())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// snapshot is what is in a folder, by name.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			all[path] = d.Type().String()
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = info.Mode().String() + info.ModTime().String() + string(data)
		return err
	}))
	return all
}

func untouched(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	after := snapshot(t, dir)
	for path, was := range before {
		if after[path] != was {
			t.Errorf("the user's %s is not what it was", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files and folders of the user's, there were %d", len(after), len(before))
	}
}

// A content in place is as good as any, takes no room, and is still there after a
// restart; what is removed of it is not the user's.
func TestReferenceServes(t *testing.T) {
	for name, sample := range map[string]*storetest.Sample{"file": storetest.File(t, 1, 60_000, storetest.Small), "tree": storetest.Tree(t, 2)} {
		t.Run(name, func(t *testing.T) {
			home := storetest.TempDir(t)
			s := openStore(t, home)
			c, dir := inPlace(t, s, sample)
			before := snapshot(t, dir)
			for range 2 {
				if got, ordinal, ok := s.Find(sample.Manifest.Chunks[0].Hash); !ok || got != c || ordinal != 0 {
					t.Error("its chunks are not found")
				}
				right(t, c, sample)
				if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 {
					t.Errorf("verified: %v, %v", bad, err)
				}
				var stored int
				for path, data := range snapshot(t, filepath.Join(home, "content")) {
					if strings.Contains(path, string(filepath.Separator)+"files"+string(filepath.Separator)) {
						stored += len(data)
					}
				}
				if stored > 0 {
					t.Errorf("%d bytes are in the store", stored)
				}
				must(t, s.Close())
				s = openStore(t, home)
				var ok bool
				if c, ok = s.Get(sample.ID); !ok || !c.Complete() || !c.InPlace() {
					t.Fatalf("not there after a restart: %v", ok)
				}
			}
			must(t, s.Remove(sample.ID))
			untouched(t, dir, before)
		})
	}
}

// changes are what users do to their files; big is one of many blocks.
var changes = map[string]func(big string) error{
	"edited": func(big string) error { return edit(big) },
	"edited, the time put back": func(big string) error {
		info, err := os.Stat(big)
		return errors.Join(err, edit(big), os.Chtimes(big, info.ModTime(), info.ModTime()))
	},
	"replaced": func(big string) error {
		info, err := os.Stat(big)
		data, err2 := os.ReadFile(big)
		data[0] ^= 1
		temp := big + ".new"
		return errors.Join(err, err2, os.WriteFile(temp, data, 0o644), os.Chtimes(temp, info.ModTime(), info.ModTime()), os.Rename(temp, big))
	},
	"cut short": func(big string) error { return os.Truncate(big, 5000) },
	"longer":    func(big string) error { return os.Truncate(big, 200_000) },
	"removed":   os.Remove,
	"a folder":  func(big string) error { return errors.Join(os.Remove(big), os.Mkdir(big, 0o755)) },
}

// edit changes a file's last bytes.
func edit(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("EDITED"), info.Size()-6)
	return errors.Join(err, f.Close())
}

// However a file changes and however that comes to light: no wrong byte is read,
// what changed counts no more, what didn't does. What is fetched then goes to a
// file of the content's own, and never to the user's.
func TestReferenceNoticesChanges(t *testing.T) {
	sample := storetest.Tree(t, 3)
	notice := map[string]func(t *testing.T, s *store.Store, c *store.Content){
		// A file that is open may be right as long as nobody looks at its name.
		"read": func(t *testing.T, _ *store.Store, c *store.Content) {
			for _, r := range sample.Refs() {
				got, err := c.ReadBlock(r.Chunk, r.Block, nil)
				if err == nil && !bytes.Equal(got, sample.Block(r.Chunk, r.Block)) {
					t.Errorf("wrong bytes of %v were read", r)
				}
			}
			if err := c.Export(t.Context(), filepath.Join(storetest.TempDir(t), "x"), store.ExportOptions{}); err == nil {
				t.Error("exported")
			}
		},
		"verified": func(t *testing.T, _ *store.Store, c *store.Content) {
			if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) == 0 {
				t.Errorf("verified: %v, %v", bad, err)
			}
		},
	}
	for what, change := range changes {
		for how, notice := range notice {
			for _, restarted := range []bool{false, true} {
				t.Run(what+", "+how, func(t *testing.T) {
					home := storetest.TempDir(t)
					s := openStore(t, home)
					c, dir := inPlace(t, s, sample)
					right(t, c, sample) // so that the file is open
					must(t, change(filepath.Join(dir, "a", "deep", "big.bin")))
					before := snapshot(t, dir)
					if restarted {
						must(t, s.Close())
						s = openStore(t, home)
						c, _ = s.Get(sample.ID)
					}
					notice(t, s, c)
					if c.Complete() {
						t.Fatal("complete with a changed file")
					}
					lost := int64(len(sample.Data)) - c.Progress()
					if lost == 0 || lost > 100_000 {
						t.Errorf("%d bytes count no more", lost)
					}
					files, why := c.References()
					if back := what == "edited, the time put back"; files != 4 || back != (len(why) == 0) {
						t.Errorf("%d files in place, changed: %v", files, why)
					}
					for range 2 { // the second after a restart
						right(t, c, sample)
						must(t, s.Close())
						s = openStore(t, home)
						c, _ = s.Get(sample.ID)
						if c.Complete() {
							t.Fatal("complete after a restart")
						}
					}
					c, blocks, lists := fetch(t, s, sample)
					if blocks == 0 || lists > 0 {
						t.Errorf("fetched %d blocks and %d lists", blocks, lists)
					}
					if what == "edited, the time put back" && blocks > 1 {
						t.Errorf("fetched %d blocks for one that changed", blocks)
					}
					right(t, c, sample)
					if files, why := c.References(); files != 3 || len(why) > 0 {
						t.Errorf("%d files in place, changed: %v", files, why)
					}
					must(t, s.Close())
					s = openStore(t, home)
					if c, _ = s.Get(sample.ID); !c.Complete() {
						t.Error("not complete after the last restart")
					}
					right(t, c, sample)
					must(t, s.Remove(sample.ID))
					untouched(t, dir, before)
				})
			}
		}
	}
}

// What was away and comes back as it was counts again, and nothing is copied.
func TestReferenceComesBack(t *testing.T) {
	sample := storetest.Tree(t, 4)
	s := openStore(t, storetest.TempDir(t))
	c, dir := inPlace(t, s, sample)
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "away")))
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) == 0 || c.Complete() {
		t.Fatalf("verified: %v, %v", bad, err)
	}
	must(t, os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "a")))
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) > 0 || !c.Complete() {
		t.Fatalf("verified: %v, %v; complete %v", bad, err, c.Complete())
	}
	if files, why := c.References(); files != 4 || len(why) > 0 {
		t.Errorf("%d files in place, changed: %v", files, why)
	}
	right(t, c, sample)
}

// Reference puts a content right whose files moved, and leaves one alone that has
// files of its own; a stage makes a copy of one in place.
func TestReferenceAgain(t *testing.T) {
	sample := storetest.Tree(t, 5)
	s := openStore(t, storetest.TempDir(t))
	c, dir := inPlace(t, s, sample)
	must(t, c.AddRelease([]byte("release")))
	must(t, c.Pin(true))
	must(t, os.RemoveAll(dir))
	if _, err := c.Verify(t.Context(), nil); err != nil || c.Progress() > 0 {
		t.Fatalf("%d bytes of nothing (%v)", c.Progress(), err)
	}
	c, dir = inPlace(t, s, sample)
	right(t, c, sample)
	if len(c.Releases()) != 1 || !c.Pinned() {
		t.Error("release or pin lost")
	}

	stage, err := s.Stage()
	must(t, err)
	for i, f := range sample.Manifest.Files {
		if f.Mode.IsDir() {
			must(t, stage.Mkdir(f.Path))
			continue
		}
		file, err := stage.Create(f.Path)
		must(t, err)
		_, err = file.Write(sample.File(i))
		must(t, errors.Join(err, file.Close()))
	}
	c, err = stage.Commit(sample.Encoded, sample.Blocks)
	must(t, err)
	if c.InPlace() || !c.Complete() {
		t.Errorf("a copy is in place: %v, complete: %v", c.InPlace(), c.Complete())
	}
	if c = reference(t, s, sample, dir); c.InPlace() {
		t.Error("a copy was given up for files in place")
	}
}

// Sources that are not what they say are refused, and nothing is left of the try.
func TestReferenceRefuses(t *testing.T) {
	sample := storetest.File(t, 6, 30_000, storetest.Small)
	home, dir := storetest.TempDir(t), storetest.TempDir(t)
	s := openStore(t, home)
	path := filepath.Join(dir, "file.bin")
	must(t, os.WriteFile(path, sample.Data, 0o644))
	info, err := os.Lstat(path)
	must(t, err)
	other := filepath.Join(dir, "other")
	must(t, os.WriteFile(other, sample.Data, 0o644))
	must(t, os.Chtimes(other, info.ModTime(), info.ModTime()))
	must(t, os.WriteFile(other+" time", sample.Data, 0o644))
	must(t, os.Chtimes(other+" time", info.ModTime().Add(1e9), info.ModTime().Add(1e9)))
	must(t, os.WriteFile(other+" size", sample.Data[1:], 0o644))
	must(t, os.Chtimes(other+" size", info.ModTime(), info.ModTime()))
	for name, c := range map[string]struct {
		src  store.Source
		want error
	}{
		"relative":      {store.Source{Path: "file.bin", Info: info}, content.ErrPath},
		"unknown":       {store.Source{Path: path}, content.ErrPath},
		"too long":      {store.Source{Path: filepath.Join(dir, strings.Repeat("a/", 20_000)), Info: info}, content.ErrPath},
		"gone":          {store.Source{Path: path + "x", Info: info}, content.ErrChanged},
		"another file":  {store.Source{Path: other, Info: info}, content.ErrChanged},
		"another time":  {store.Source{Path: other + " time", Info: info}, content.ErrChanged},
		"another size":  {store.Source{Path: other + " size", Info: info}, content.ErrChanged},
		"a folder":      {store.Source{Path: dir, Info: info}, content.ErrChanged},
		"nothing at it": {store.Source{}, content.ErrPath},
	} {
		if _, err := s.Reference(sample.Encoded, sample.Blocks, []store.Source{c.src}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := s.Reference(sample.Encoded, sample.Blocks, nil); !errors.Is(err, content.ErrFormat) {
		t.Errorf("no sources: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(home, "content")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// Readers and a fetch go on while files become the content's own; and links don't
// lead to what is the user's.
func TestReferenceWhileItBecomesOwn(t *testing.T) {
	sample := storetest.File(t, 7, 300_000, storetest.Small)
	s := openStore(t, storetest.TempDir(t))
	c, dir := inPlace(t, s, sample)
	if runtime.GOOS != "windows" {
		err := c.Export(t.Context(), filepath.Join(storetest.TempDir(t), "link"), store.ExportOptions{Link: store.MustLink})
		if !errors.Is(err, store.ErrNoLink) {
			t.Errorf("linked to the user's file: %v", err)
		}
	}
	must(t, changes["edited, the time put back"](filepath.Join(dir, "file.bin")))
	before := snapshot(t, dir)
	right(t, c, sample)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				right(t, c, sample)
			}
		})
	}
	fetch(t, s, sample)
	wg.Wait()
	right(t, c, sample)
	untouched(t, dir, before)
	if c.InPlace() {
		t.Error("still in place")
	}
}

// What is wrong in the user's file and nobody met before is not taken for right
// when the file becomes the content's own.
func TestReferenceCopiesWhatIsRight(t *testing.T) {
	sample := storetest.File(t, 8, 60_000, storetest.Small)
	s := openStore(t, storetest.TempDir(t))
	c, dir := inPlace(t, s, sample)
	path := filepath.Join(dir, "file.bin")
	info, err := os.Stat(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("ALSO"), 0)
	must(t, errors.Join(err, f.Close(), edit(path), os.Chtimes(path, info.ModTime(), info.ModTime())))
	refs := sample.Refs()
	last := refs[len(refs)-1]
	if _, err := c.ReadBlock(last.Chunk, last.Block, nil); !errors.Is(err, content.ErrCorrupt) {
		t.Fatalf("read a changed block: %v", err)
	}
	if _, err := c.WriteBlock(last.Chunk, last.Block, sample.Block(last.Chunk, last.Block)); err != nil {
		t.Fatal(err)
	}
	if c.Complete() || c.InPlace() {
		t.Errorf("complete %v, in place %v", c.Complete(), c.InPlace())
	}
	c, blocks, _ := fetch(t, s, sample)
	if blocks != 1 {
		t.Errorf("fetched %d blocks", blocks)
	}
	right(t, c, sample)
}

// A file that changes while it is copied out makes no copy.
func TestReferenceExportNoticesChanges(t *testing.T) {
	sample := storetest.File(t, 9, 60_000, storetest.Small)
	s := openStore(t, storetest.TempDir(t))
	c, dir := inPlace(t, s, sample)
	out := filepath.Join(storetest.TempDir(t), "copy")
	var once sync.Once
	err := c.Export(t.Context(), out, store.ExportOptions{Progress: func(int64, int64) {
		once.Do(func() { must(t, edit(filepath.Join(dir, "file.bin"))) })
	}})
	if _, there := os.Lstat(out); !errors.Is(err, content.ErrChanged) || there == nil || c.Complete() {
		t.Errorf("%v; a copy: %v; complete: %v", err, there == nil, c.Complete())
	}
}
