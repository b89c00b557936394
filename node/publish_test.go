package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/chunker"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A testStage is a folder.
type testStage struct {
	root *os.Root
	// spoil, if set, may stand in for the file that was made.
	spoil func(path string, f *os.File) (*os.File, error)
}

func newTestStage(t testing.TB) *testStage {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &testStage{root: root}
}

func (s *testStage) Mkdir(path string) error {
	if path == "." {
		return nil
	}
	return s.root.Mkdir(path, 0o700)
}

func (s *testStage) Create(path string) (disk.File, error) {
	f, err := s.root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil && s.spoil != nil {
		f, err = s.spoil(path, f)
	}
	if err != nil {
		return nil, err
	}
	return disk.Wrap(f), nil
}

func (s *testStage) Open(path string) (disk.File, error) {
	f, err := s.root.Open(path)
	if err != nil {
		return nil, err
	}
	return disk.Wrap(f), nil
}

var publishTime = time.Date(2024, 2, 29, 12, 34, 56, 123456700, time.UTC)

// publishRandom returns n bytes of a stream that is specified, and so the same forever.
func publishRandom(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// writeTree makes a tree under dir: a path with bytes is a file, one ending in a
// slash a folder. All of it has the same time.
func writeTree(t testing.TB, dir string, tree map[string][]byte) {
	t.Helper()
	var made []string
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range tree {
		path := filepath.Join(dir, filepath.FromSlash(name))
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			check(os.MkdirAll(path, 0o755))
		} else {
			check(os.WriteFile(path, data, 0o644))
		}
	}
	check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		made = append(made, path)
		return err
	}))
	for _, path := range made {
		info, err := os.Lstat(path)
		check(err)
		mode := fs.FileMode(0o644)
		if info.IsDir() {
			mode = 0o755
		}
		check(os.Chmod(path, mode)) // whatever the umask
		check(os.Chtimes(path, publishTime, publishTime))
	}
}

// naiveBlocks cuts data as the format says, all in memory.
func naiveBlocks(data []byte) (blocks []content.Block) {
	for len(data) > 0 {
		n := chunker.Cut(data)
		blocks = append(blocks, content.Block{Hash: content.Sum(data[:n]), Size: uint32(n)})
		data = data[n:]
	}
	return blocks
}

// One tree has one content id, now and later, on every system. This holds all
// parts of the format together.
func TestPublishedIDIsFrozen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	writeTree(t, dir, map[string][]byte{
		"big.bin":       publishRandom(1, 3<<20+12345),
		"empty":         nil,
		"folder/":       nil,
		"folder/größe":  []byte("grün"),
		"folder.txt":    []byte("after what is in the folder"),
		"folder/deep/z": publishRandom(2, 100_000),
		"nothing here/": nil,
	})
	const want = "bafyreidyig6tompza26vsf6jqsua5akvoez5pof6vflot2j3akj2niqylm"
	got, err := publish(t.Context(), newTestStage(t), []string{dir}, publishOptions{Type: "app", Labels: map[string]string{"os": "any"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Encoded.ID.String() != want {
		t.Errorf("content id is %v, want %v", got.Encoded.ID, want)
	}
	var paths []string
	for _, f := range got.Manifest.Files {
		paths = append(paths, f.Path)
		if !f.ModTime.Equal(publishTime) {
			t.Errorf("%s has time %v", f.Path, f.ModTime)
		}
	}
	if want := []string{".", "big.bin", "empty", "folder", "folder/deep", "folder/deep/z", "folder/größe", "folder.txt", "nothing here"}; !slices.Equal(paths, want) {
		t.Errorf("paths are %q, want %q", paths, want)
	}
	if got.Files != 5 || got.New != got.Manifest.Size() {
		t.Errorf("%d files, %d bytes new", got.Files, got.New)
	}
}

// Whatever a file's size, its blocks are those of a cut in one go, and the stage
// has its bytes.
func TestPublishFileSizes(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, content.MinBlock, content.MaxBlock, content.MaxBlock + 1}
	for _, near := range []int{publishPieceSize, 2 * publishPieceSize, 5*publishPieceSize + content.MaxBlock} {
		sizes = append(sizes, near-1, near, near+1)
	}
	for _, size := range sizes {
		for kind, data := range map[string][]byte{"random": publishRandom(byte(size), size), "zeros": make([]byte, size)} {
			path := filepath.Join(t.TempDir(), "file.bin")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			stage := newTestStage(t)
			got, err := publish(t.Context(), stage, []string{path}, publishOptions{})
			if err != nil {
				t.Fatalf("%d %s: %v", size, kind, err)
			}
			if m := got.Manifest; !m.Single() || m.Files[0].Path != "file.bin" || m.Size() != int64(size) {
				t.Errorf("%d %s: not a single file of this size: %+v", size, kind, m.Files)
			}
			if want := naiveBlocks(data); !slices.Equal(slices.Concat(got.Blocks...), want) {
				t.Errorf("%d %s: other blocks than cut in one go", size, kind)
			}
			for i, blocks := range got.Blocks {
				for n, b := range blocks[:len(blocks)-1] {
					if chunker.Ends(b.Hash, n+1) {
						t.Errorf("%d %s: chunk %d goes on after block %d", size, kind, i, n)
					}
				}
				if last := blocks[len(blocks)-1]; i < len(got.Blocks)-1 && !chunker.Ends(last.Hash, len(blocks)) {
					t.Errorf("%d %s: chunk %d ends after block %d", size, kind, i, len(blocks)-1)
				}
			}
			if staged, err := fs.ReadFile(stage.root.FS(), "file.bin"); err != nil || !bytes.Equal(staged, data) {
				t.Errorf("%d %s: the stage has other bytes (%v)", size, kind, err)
			}
		}
	}
}

func TestPublishIsTheSameOnAnyNumberOfCores(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	tree := map[string][]byte{"large": publishRandom(1, 6<<20), "large too": publishRandom(2, 4<<20)}
	for i := range 300 {
		tree[fmt.Sprintf("%d/%d", i%7, i)] = publishRandom(byte(i), i*100)
	}
	writeTree(t, dir, tree)
	var first content.ID
	for workers := range 9 {
		got, err := publish(t.Context(), newTestStage(t), []string{dir}, publishOptions{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if workers == 0 {
			first = got.Encoded.ID
		}
		if got.Encoded.ID != first {
			t.Errorf("%d workers make %v, 0 make %v", workers, got.Encoded.ID, first)
		}
	}
}

// A change at any time between the first look at a file and the end of reading
// ends the publication.
func TestPublishNoticesChanges(t *testing.T) {
	rewrite := func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("changed"), 0)
		return errors.Join(err, f.Close())
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		file   string // that is named
	}{
		"small rewritten": {func(dir string) error { return rewrite(filepath.Join(dir, "small")) }, "small"},
		"large rewritten": {func(dir string) error { return rewrite(filepath.Join(dir, "large")) }, "large"},
		"large shorter":   {func(dir string) error { return os.Truncate(filepath.Join(dir, "large"), 1<<20) }, "large"},
		"large longer": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, "large"), 10<<20)
		}, "large"},
		"removed": {func(dir string) error { return os.Remove(filepath.Join(dir, "small")) }, ""},
		"replaced by its like": {func(dir string) error {
			old, err := os.Stat(filepath.Join(dir, "small"))
			if err != nil {
				return err
			}
			twin := filepath.Join(dir, "small.new")
			return errors.Join(os.WriteFile(twin, make([]byte, old.Size()), 0o644), os.Chmod(twin, old.Mode()),
				os.Chtimes(twin, publishTime, publishTime), os.Rename(twin, filepath.Join(dir, "small")),
				os.Chtimes(dir, publishTime, publishTime))
		}, "small"},
		"a link in its place": {func(dir string) error {
			small := filepath.Join(dir, "small")
			return errors.Join(os.Rename(small, small+".old"), os.Symlink(small+".old", small), os.Chtimes(dir, publishTime, publishTime))
		}, "small"},
		"another file beside it": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) }, ""},
		"another mode":           {func(dir string) error { return os.Chmod(filepath.Join(dir, "small"), 0o400) }, "small"},
	} {
		// The change comes as soon as anything is staged, or when all is read.
		for _, when := range []string{"early", "late"} {
			t.Run(name+", "+when, func(t *testing.T) {
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
				dir := t.TempDir()
				writeTree(t, dir, map[string][]byte{"a first one": []byte("x"), "large": publishRandom(1, 5<<20), "small": publishRandom(2, 1000)})
				var once sync.Once
				change := func() {
					once.Do(func() {
						if err := c.change(dir); err != nil {
							t.Errorf("change: %v", err)
						}
					})
				}
				stage := newTestStage(t)
				opt := publishOptions{Workers: 2}
				if when == "early" {
					stage.spoil = func(path string, f *os.File) (*os.File, error) { change(); return f, nil }
				} else {
					opt.Progress = func(phase string, done, total int64) {
						if done == total {
							change()
						}
					}
				}
				_, err := publish(t.Context(), stage, []string{dir}, opt)
				if !errors.Is(err, content.ErrChanged) || !strings.Contains(err.Error(), filepath.Join(dir, c.file)) {
					t.Errorf("%v, want ErrChanged that names %q", err, c.file)
				}
			})
		}
	}
}

// G18: whatever happens to the bytes between hashing and the end is noticed
// before anything is signed.
func TestPublishReadsBack(t *testing.T) {
	for name, spoil := range map[string]func(f *os.File) error{
		"a bit flipped": func(f *os.File) error {
			var b [1]byte
			if _, err := f.ReadAt(b[:], 777); err != nil {
				return err
			}
			b[0] ^= 0x10
			_, err := f.WriteAt(b[:], 777)
			return err
		},
		"a page of zeros": func(f *os.File) error { _, err := f.WriteAt(make([]byte, 4096), 8192); return err },
		"cut short":       func(f *os.File) error { return f.Truncate(20_000) },
		"nothing":         func(f *os.File) error { return f.Truncate(0) },
	} {
		for _, file := range []string{"large", "small"} {
			t.Run(name+" in "+file, func(t *testing.T) {
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
				dir := t.TempDir()
				writeTree(t, dir, map[string][]byte{"large": publishRandom(1, 5<<20), "small": publishRandom(2, 30_000)})
				stage := newTestStage(t)
				reads := int64(0)
				_, err := publish(t.Context(), stage, []string{dir}, publishOptions{Progress: func(phase string, done, total int64) {
					if phase != publishReads || done != total || reads == total {
						return
					}
					reads = done
					f, err := stage.root.OpenFile(file, os.O_RDWR, 0)
					if err == nil {
						err = errors.Join(spoil(f), f.Close())
					}
					if err != nil {
						t.Error(err)
					}
				}})
				if !errors.Is(err, content.ErrCorrupt) && !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "read back") {
					t.Errorf("%v, want an error of reading back", err)
				}
			})
		}
	}
}

func TestPublishOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"small": []byte("x"), "large": publishRandom(1, 5<<20)})
	full := map[string]func(path string, f *os.File) (*os.File, error){
		"create": func(path string, f *os.File) (*os.File, error) {
			f.Close()
			return nil, &fs.PathError{Op: "open", Path: path, Err: errDiskFull()}
		},
	}
	if runtime.GOOS == "linux" {
		full["write"] = func(path string, f *os.File) (*os.File, error) {
			f.Close()
			return os.OpenFile("/dev/full", os.O_RDWR, 0)
		}
	}
	for name, spoil := range full {
		for _, file := range []string{"small", "large"} {
			t.Run(name+" "+file, func(t *testing.T) {
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
				stage := newTestStage(t)
				stage.spoil = spoil
				_, err := publish(t.Context(), stage, []string{filepath.Join(dir, file)}, publishOptions{})
				if !errors.Is(err, content.ErrNoSpace) {
					t.Errorf("%v, want ErrNoSpace", err)
				}
			})
		}
	}
}

func errDiskFull() error {
	if runtime.GOOS == "windows" {
		return syscall.Errno(112)
	}
	return syscall.ENOSPC
}

func TestPublishStopsWhenTold(t *testing.T) {
	dir := t.TempDir()
	tree := map[string][]byte{"large": publishRandom(1, 8<<20)}
	for i := range 200 {
		tree[fmt.Sprintf("%d", i)] = []byte("x")
	}
	writeTree(t, dir, tree)
	for _, phase := range []string{publishReads, publishVerifies} {
		t.Run(phase, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			ctx, cancel := context.WithCancel(t.Context())
			_, err := publish(ctx, newTestStage(t), []string{dir}, publishOptions{Progress: func(p string, done, total int64) {
				if p == phase {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		})
	}
}

func TestPublishTellsProgressAndWhatIsNew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	data := publishRandom(1, 9<<20)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	last := map[string]int64{}
	first, err := publish(t.Context(), newTestStage(t), []string{path}, publishOptions{Progress: func(phase string, done, total int64) {
		if total != int64(len(data)) || done < last[phase] {
			t.Errorf("%s: %d of %d after %d", phase, done, total, last[phase])
		}
		last[phase] = done
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last[publishReads] != int64(len(data)) || last[publishVerifies] != int64(len(data)) {
		t.Errorf("progress ended at %v", last)
	}

	known := make(map[content.Hash]bool)
	for _, list := range first.Blocks {
		for _, b := range list {
			known[b.Hash] = true
		}
	}
	held := func(_ context.Context, m *content.Manifest, blocks [][]content.Block) (n int64, err error) {
		for _, b := range slices.Concat(blocks...) {
			if known[b.Hash] {
				n += int64(b.Size)
			}
		}
		return n, nil
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := publish(t.Context(), newTestStage(t), []string{path}, publishOptions{Known: held})
	if err != nil {
		t.Fatal(err)
	}
	if second.New == 0 || second.New > 2*content.MaxBlock {
		t.Errorf("%d of %d bytes are new after a change of one bit", second.New, len(data))
	}
}

// The real store takes what publish made, and gives every block of it.
func TestPublishIntoStore(t *testing.T) {
	t.Parallel()
	s, err := store.Open(store.Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "tree")
	writeTree(t, dir, map[string][]byte{"large": publishRandom(1, 5<<20), "sub/small": []byte("x"), "sub/empty": nil})
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	made, err := publish(t.Context(), stage, []string{dir}, publishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := stage.Commit(made.Encoded, made.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID() != made.Encoded.ID || !c.Complete() {
		t.Errorf("committed %v, complete %v", c.ID(), c.Complete())
	}
	var buf []byte
	for i, blocks := range made.Blocks {
		for n, b := range blocks {
			if buf, err = c.ReadBlock(i, n, buf); err != nil || content.Sum(buf) != b.Hash {
				t.Fatalf("block %d of chunk %d: %v", n, i, err)
			}
		}
	}
}

// BenchmarkPublish publishes to the fastest disk there is, to measure publish
// and not the disk. Copy is what copying alone takes there, and Hash what hashing
// twice takes on one core: compare runs with these, as memory of a virtual
// machine may be slow when first used.
func BenchmarkPublish(b *testing.B) {
	memory := func(b *testing.B) string {
		dir, err := os.MkdirTemp("/dev/shm", "p2pnode-bench-")
		if err != nil {
			return b.TempDir()
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	const size = 512 << 20
	large := func(b *testing.B, dir string) string {
		path := filepath.Join(dir, "large")
		if err := os.WriteFile(path, publishRandom(1, size), 0o644); err != nil {
			b.Fatal(err)
		}
		return path
	}
	run := func(b *testing.B, dir, path string) {
		for b.Loop() {
			out, err := os.MkdirTemp(dir, "stage")
			if err != nil {
				b.Fatal(err)
			}
			root, err := os.OpenRoot(out)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := publish(b.Context(), &testStage{root: root}, []string{path}, publishOptions{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			root.Close()
			os.RemoveAll(out)
			b.StartTimer()
		}
	}
	b.Run("large", func(b *testing.B) {
		dir := memory(b)
		path := large(b, dir)
		b.SetBytes(size)
		run(b, dir, path)
	})
	b.Run("5000 small", func(b *testing.B) {
		dir := memory(b)
		tree := make(map[string][]byte)
		var bytes int64
		for i := range 5000 {
			data := publishRandom(byte(i), 1024+i*19*1024/5000)
			bytes += int64(len(data))
			tree[fmt.Sprintf("%02d/%04d", i%50, i)] = data
		}
		writeTree(b, filepath.Join(dir, "tree"), tree)
		b.SetBytes(bytes)
		run(b, dir, filepath.Join(dir, "tree"))
	})
	b.Run("baseline copy", func(b *testing.B) {
		dir := memory(b)
		path := large(b, dir)
		b.SetBytes(size)
		buf := make([]byte, 1<<20)
		for b.Loop() {
			from, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			to, err := os.Create(filepath.Join(dir, "copy"))
			if err != nil {
				b.Fatal(err)
			}
			for {
				n, err := from.Read(buf)
				if err != nil {
					break
				}
				if _, err := to.Write(buf[:n]); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			from.Close()
			to.Close()
			os.Remove(to.Name())
			b.StartTimer()
		}
	})
	b.Run("baseline hash twice", func(b *testing.B) {
		data := publishRandom(1, 64<<20)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for rest := data; len(rest) > 0; rest = rest[64<<10:] {
				content.Sum(rest[:64<<10])
				content.Sum(rest[:64<<10])
			}
		}
	})
}
