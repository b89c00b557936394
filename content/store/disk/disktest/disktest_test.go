package disktest_test

import (
	"bytes"
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
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
)

// A script is what a process does before the power goes.
type script struct {
	*testing.T
	*disktest.FS
	open map[string]disk.File
}

func (s script) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// do does steps such as "write a 0 hello".
func (s script) do(steps ...string) {
	s.Helper()
	for _, step := range steps {
		w := strings.Fields(step)
		name := "/" + w[1]
		file := func() disk.File {
			if s.open[name] == nil {
				f, err := s.Open(name, os.O_RDWR|os.O_CREATE)
				s.must(err)
				s.open[name] = f
			}
			return s.open[name]
		}
		switch w[0] {
		case "create":
			file()
		case "write":
			var at int64
			fmt.Sscan(w[2], &at)
			_, err := file().WriteAt([]byte(w[3]), at)
			s.must(err)
		case "truncate":
			var size int64
			fmt.Sscan(w[2], &size)
			s.must(file().Truncate(size))
		case "sync":
			s.must(file().Sync())
		case "close":
			s.must(file().Close())
			delete(s.open, name)
		case "failsync":
			s.Fault(func(op disktest.Op) error {
				if op.Kind == disktest.Sync {
					return syscall.EIO
				}
				return nil
			})
			if err := file().Sync(); !errors.Is(err, syscall.EIO) {
				s.Fatalf("a sync that is to fail: %v", err)
			}
			s.Fault(nil)
		case "mkdir":
			s.must(s.Mkdir(name))
		case "rename":
			s.must(s.Rename(name, "/"+w[2]))
		case "remove":
			s.must(s.Remove(name))
		case "syncfolder":
			s.must(s.SyncFolder(name))
		default:
			s.Fatalf("no step %q", step)
		}
	}
}

// state tells what there is: "a=hello d/b=".
func state(t *testing.T, f *disktest.FS) string {
	t.Helper()
	files, err := f.Files("/")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for name, data := range files {
		out = append(out, name+"="+strings.ReplaceAll(string(data), "\x00", "."))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// What may be found after a crash is found by some seed, and nothing else is.
func TestCrash(t *testing.T) {
	for _, test := range []struct {
		name           string
		steps          []string
		posix, windows []string // what may be found; the same if windows is nil
	}{
		{"a name is durable once its folder was synced", []string{"write a 0 x", "sync a"}, []string{"", "a=x"}, []string{"a=x"}},
		{"nothing is lost that was synced", []string{"write a 0 x", "sync a", "syncfolder ."}, []string{"a=x"}, nil},
		{"bytes are not durable by the folder", []string{"write a 0 x", "syncfolder ."}, []string{"a=", "a=.", "a=x", "a=?"}, []string{"", "a=", "a=.", "a=x", "a=?"}},
		{"unsynced bytes may be there or not", []string{"write a 0 xy", "sync a", "syncfolder .", "write a 0 z"}, []string{"a=xy", "a=zy"}, nil},
		{"writes are not in order", []string{"write a 0 xy", "sync a", "syncfolder .", "write a 0 1", "write a 1 2"},
			[]string{"a=xy", "a=1y", "a=x2", "a=12"}, nil},
		{"a cut may come before what was written", []string{"write a 0 xyz", "sync a", "syncfolder .", "truncate a 1", "write a 0 w"},
			[]string{"a=xyz", "a=wyz", "a=x", "a=w"}, nil},
		{"a rename is not half done", []string{"write a 0 x", "write b 0 y", "sync a", "sync b", "syncfolder .", "close a", "close b", "rename a b"},
			[]string{"a=x b=y", "b=x"}, []string{"b=x"}},
		{"a rename does not sync", []string{"write a 0 x", "sync a", "syncfolder .", "write a 0 y", "close a", "rename a b"},
			[]string{"a=x", "a=y", "b=x", "b=y"}, []string{"b=x", "b=y"}},
		{"a removal may be undone", []string{"write a 0 x", "sync a", "syncfolder .", "close a", "remove a"}, []string{"", "a=x"}, nil},
		{"names are not in order, but on Windows", []string{"create a", "create b"}, []string{"", "a=", "b=", "a= b="}, []string{"", "a=", "a= b="}},
		{"Windows syncs older names with a file", []string{"create a", "create b", "sync b"}, []string{"", "a=", "b=", "a= b="}, []string{"a= b="}},
		{"a folder is as durable as its own name", []string{"mkdir d", "write d/a 0 x", "sync d/a", "syncfolder d"}, []string{"", "d/a=x"}, []string{"d/a=x"}},
		{"a failed sync leaves doubt, whatever is synced later", []string{"write a 0 xy", "sync a", "syncfolder .", "write a 0 1", "failsync a", "write a 1 2", "sync a"},
			[]string{"a=12", "a=x2"}, nil},
		{"what is written again is durable", []string{"write a 0 xy", "sync a", "syncfolder .", "write a 0 1", "failsync a", "write a 0 1", "sync a"},
			[]string{"a=1y"}, nil},
	} {
		for _, semantics := range []disktest.Semantics{disktest.POSIX, disktest.Windows} {
			t.Run(test.name+"/"+semantics.String(), func(t *testing.T) {
				s := script{t, disktest.New(semantics), map[string]disk.File{}}
				s.do(test.steps...)
				want := test.posix
				if semantics == disktest.Windows && test.windows != nil {
					want = test.windows
				}
				image := s.Image()
				found := make(map[string]int)
				for seed := range uint64(1000) {
					found[state(t, image.Crash(disktest.Some, rand.New(rand.NewPCG(seed, 0))))]++
				}
				for _, w := range want {
					if found[w] == 0 && w != "a=?" {
						t.Errorf("never found: %q", w)
					}
					delete(found, w)
				}
				for f, n := range found {
					if len(f) == len("a=?") && slices.Contains(want, "a=?") {
						continue // what the disk had there before
					}
					t.Errorf("found %d times: %q", n, f)
				}
				before, all := state(t, s.FS), state(t, image.Crash(disktest.All, nil))
				if before != all {
					t.Errorf("all kept: %q, was %q", all, before)
				}
				if kept := state(t, image.Kill()); kept != before {
					t.Errorf("killed: %q, was %q", kept, before)
				}
				for seed := range uint64(100) {
					if late := state(t, image.Kill().Image().Crash(disktest.Some, rand.New(rand.NewPCG(seed, 0)))); !slices.Contains(want, late) && !slices.Contains(want, "a=?") {
						t.Errorf("killed, and crashed then: %q", late)
					}
				}
				none := state(t, image.Crash(disktest.None, nil))
				if !slices.Contains(want, none) {
					t.Errorf("none kept: %q", none)
				}
			})
		}
	}
}

// A large write is torn between sectors, and at a page now and then.
func TestTornWrites(t *testing.T) {
	f := disktest.New(disktest.POSIX)
	old, written := bytes.Repeat([]byte{'o'}, 20_000), bytes.Repeat([]byte{'w'}, 15_000)
	if err := errors.Join(disk.Write(f, "/", "a", old), f.SyncFolder("/")); err != nil {
		t.Fatal(err)
	}
	a, err := f.Open("/a", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	const at = 700
	if _, err := a.WriteAt(written, at); err != nil {
		t.Fatal(err)
	}
	image := f.Image()
	torn := 0
	for seed := range uint64(100) {
		files, err := image.Crash(disktest.Some, rand.New(rand.NewPCG(seed, 0))).Files("/")
		if err != nil {
			t.Fatal(err)
		}
		data := files["a"]
		if len(data) != len(old) {
			t.Fatalf("%d bytes", len(data))
		}
		for i := 1; i < len(data); i++ {
			if data[i] == data[i-1] || i == at || i == at+len(written) {
				continue
			}
			torn++
			if i%512 != 0 {
				t.Fatalf("torn at %d", i)
			}
		}
	}
	if torn == 0 {
		t.Error("never torn")
	}
}

// An image doesn't change with what is done later.
func TestImageStays(t *testing.T) {
	s := script{t, disktest.New(disktest.POSIX), map[string]disk.File{}}
	var images []*disktest.Image
	var states []string
	s.Watch(func(op disktest.Op, i *disktest.Image) {
		images = append(images, i)
		states = append(states, state(t, i.Crash(disktest.All, nil)))
	})
	s.do("write a 0 x", "sync a", "write a 0 yy", "failsync a", "write a 1 z", "sync a", "truncate a 1", "syncfolder .",
		"mkdir d", "write d/b 0 b", "close a", "close d/b", "rename a d/a", "remove d/b", "syncfolder d")
	if len(images) != 15 { // closing changes nothing, making a file does
		t.Errorf("%d images", len(images))
	}
	for i, image := range images {
		if got := state(t, image.Crash(disktest.All, nil)); got != states[i] {
			t.Errorf("image %d became %q, was %q", i, got, states[i])
		}
	}
	if got := state(t, images[len(images)-1].Crash(disktest.All, nil)); got != "d/a=y" {
		t.Errorf("in the end: %q", got)
	}
}

func TestDropUnsynced(t *testing.T) {
	found := make(map[string]bool)
	for seed := range uint64(20) {
		s := script{t, disktest.New(disktest.POSIX), map[string]disk.File{}}
		s.DropUnsynced(rand.New(rand.NewPCG(seed, 0)))
		s.do("write a 0 xy", "sync a", "write a 0 1", "failsync a")
		found[state(t, s.FS)] = true
	}
	if len(found) != 2 || !found["a=xy"] || !found["a=1y"] {
		t.Errorf("read after a failed sync: %v", found)
	}
}

func TestWindowsKeepsOpenFiles(t *testing.T) {
	s := script{t, disktest.New(disktest.Windows), map[string]disk.File{}}
	s.do("mkdir d", "create d/a", "create b")
	for _, err := range []error{s.Remove("/d/a"), s.Rename("/d/a", "/c"), s.Rename("/b", "/d/a"), s.Rename("/d", "/e")} {
		if !errors.Is(err, disktest.ErrOpen) {
			t.Errorf("an open file was moved: %v", err)
		}
	}
	s.do("close d/a", "close b", "rename b d/a", "rename d e", "remove e/a")
	s.do("create a")
	s.Kill()
	if _, err := s.open["/a"].ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read by a process that is gone: %v", err)
	}
	s.must(s.Remove("/a"))
}

func TestFaults(t *testing.T) {
	f := disktest.New(disktest.POSIX)
	var seen []string
	f.Fault(func(op disktest.Op) error {
		seen = append(seen, op.String())
		if op.Kind == disktest.Write {
			return &disktest.Short{Bytes: 2, Err: syscall.EIO}
		}
		return nil
	})
	err := disk.ReplaceBytes(f, "/", "a", []byte("hello"))
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("a write that is to fail: %v", err)
	}
	if got, want := strings.Join(seen, ", "), "create /a.tmp, write /a.tmp 0+5, close /a.tmp, remove /a.tmp"; got != want {
		t.Errorf("done: %s, want %s", got, want)
	}
	f.Fault(func(op disktest.Op) error {
		if op.Kind == disktest.Write {
			return &disktest.Short{Bytes: 2, Err: syscall.EIO}
		}
		return nil
	})
	if err := disk.Write(f, "/", "b", []byte("hello")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a write that is to fail: %v", err)
	}
	if got := state(t, f); got != "b=he" {
		t.Errorf("after a short write: %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	f := disktest.New(disktest.POSIX)
	f.Resize(5 * 4096)
	a, err := f.Open("/a", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Truncate(1 << 20); err != nil {
		t.Errorf("a sparse file: %v", err)
	}
	if _, err := a.WriteAt(make([]byte, 4*4096), 100_000&^4095); err != nil {
		t.Errorf("four pages of five: %v", err)
	}
	n, err := a.WriteAt(make([]byte, 2*4096), 4095)
	if !disk.Full(err) || n != 1+0 {
		t.Errorf("two pages of one: %d bytes, %v", n, err)
	}
	if free, total, err := f.Space("/"); free != 0 || total != 5*4096 || err != nil {
		t.Errorf("free %d of %d, %v", free, total, err)
	}
	if err := errors.Join(a.Close(), f.Remove("/a")); err != nil {
		t.Fatal(err)
	}
	if free, _, err := f.Space("/"); free != 5*4096 || err != nil {
		t.Errorf("free after all is removed: %d, %v", free, err)
	}
}

// It does as the system does, and fails as it does.
func TestLikeTheSystem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only on linux: others have other words for some errors")
	}
	memory := disktest.New(disktest.POSIX)
	var got [2][]string
	for i, f := range []disk.FS{disk.OS{}, memory} {
		dir := t.TempDir()
		if err := memory.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		tell := func(what string, err error) {
			kind := "ok"
			for _, e := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, io.EOF, syscall.ENOTDIR, syscall.EISDIR, syscall.ENOTEMPTY, disk.ErrLocked} {
				if errors.Is(err, e) {
					kind = e.Error()
				}
			}
			if err != nil && kind == "ok" {
				kind = "fails"
			}
			var at *fs.PathError
			if errors.As(err, &at) && at.Op == "read" {
				kind = "read: " + kind
			}
			got[i] = append(got[i], what+": "+kind)
		}
		at := func(name string) string { return filepath.Join(dir, name) }
		tell("mkdir", f.Mkdir(at("d")))
		tell("mkdir again", f.Mkdir(at("d")))
		tell("mkdir in nothing", f.Mkdir(at("x/y")))
		tell("mkdirall", f.MkdirAll(at("x/y")))
		tell("mkdirall again", f.MkdirAll(at("x/y")))
		tell("write", disk.Write(f, at("d"), "a", []byte("hello")))
		tell("write again", disk.Write(f, at("d"), "a", nil))
		tell("mkdirall over a file", f.MkdirAll(at("d/a/b")))
		tell("replace", disk.ReplaceBytes(f, at("d"), "b", []byte("bye")))
		_, err := disk.Read(f, at("d/a"), 4)
		tell("read too much", err)
		data, err := disk.Read(f, at("d/a"), 5)
		tell("read "+string(data), err)
		_, err = f.Open(at("d/c"), os.O_RDONLY)
		tell("open nothing", err)
		_, err = f.Open(at("d/a/c"), os.O_RDONLY)
		tell("open in a file", err)
		_, err = f.Open(at("d"), os.O_RDWR)
		tell("open a folder", err)
		a, err := f.Open(at("d/a"), os.O_RDONLY)
		tell("open", err)
		n, err := a.ReadAt(make([]byte, 9), 3)
		tell(fmt.Sprintf("read %d at the end", n), err)
		_, err = a.WriteAt([]byte{1}, 0)
		tell("write to what is read", err)
		tell("close", a.Close())
		tell("close again", a.Close())
		_, err = a.ReadAt(make([]byte, 1), 0)
		tell("read what is closed", err)
		tell("rename", f.Rename(at("d/a"), at("x/a")))
		tell("rename nothing", f.Rename(at("d/a"), at("x/a")))
		tell("rename over", f.Rename(at("d/b"), at("x/a")))
		tell("rename over a full folder", f.Rename(at("d"), at("x")))
		tell("remove a full folder", f.Remove(at("x")))
		tell("remove nothing", f.Remove(at("q")))
		tell("removeall", f.RemoveAll(at("x")))
		tell("removeall nothing", f.RemoveAll(at("x")))
		tell("syncfolder", f.SyncFolder(at("d")))
		tell("syncfolder nothing", f.SyncFolder(at("x")))
		for _, path := range []string{"../out", "/out", "d/../../out"} {
			_, err := f.OpenBelow(dir, path, os.O_RDWR|os.O_CREATE)
			tell("open "+path, err)
			tell("mkdir "+path, f.MkdirBelow(dir, path))
		}
		tell("mkdirall below", f.MkdirAllBelow(dir, "m/n"))
		tell("rename below", f.RenameBelow(dir, "m/n", "m/o"))
		_, err = f.LstatBelow(dir, "m/n")
		tell("lstat nothing", err)
		info, err := f.LstatBelow(dir, "m/o")
		tell(fmt.Sprint("lstat ", info.Name(), info.Mode(), info.IsDir()), err)
		tell("remove below", f.RemoveBelow(dir, "m/o"))
		_, err = f.ReadDir(at("none"))
		tell("readdir nothing", err)
		entries, err := f.ReadDir(dir)
		for _, e := range entries {
			tell("entry "+e.Name(), nil)
		}
		tell("readdir", err)
		l, err := f.Lock(at("lock"))
		tell("lock", err)
		_, err = f.Lock(at("lock"))
		tell("lock again", err)
		tell("unlock", l.Close())
		l, err = f.Lock(at("lock"))
		tell("lock once more", err)
		tell("unlock", l.Close())
	}
	for i, want := range got[0] {
		if got[1][i] != want {
			t.Errorf("%s, the system %s", got[1][i], want)
		}
	}
}

func TestCopy(t *testing.T) {
	f := disktest.New(disktest.POSIX)
	err := f.Copy("/to", fstest.MapFS{"a/b": {Data: []byte("x")}, "c": {Data: []byte("y")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := state(t, f); got != "to/a/b=x to/c=y" {
		t.Errorf("copied: %q", got)
	}
	if err := f.Damage("/to/c", func(data []byte) []byte { return append(data, 'z') }); err != nil {
		t.Fatal(err)
	}
	if got := state(t, f); got != "to/a/b=x to/c=yz" {
		t.Errorf("damaged: %q", got)
	}
}

// Sum tells apart what is seen of a disk, and nothing else.
func TestSum(t *testing.T) {
	sum := func(steps ...string) uint64 {
		d := script{t, disktest.New(disktest.POSIX), make(map[string]disk.File)}
		d.do(steps...)
		return d.Sum()
	}
	same := sum("write a 0 hello", "write b 0 bye")
	if got := sum("write b 0 bye", "write a 0 hello", "sync a"); got != same {
		t.Error("the order, or what is synced, makes a difference")
	}
	for _, steps := range [][]string{
		{"write a 0 hello"},
		{"write a 0 bye", "write b 0 hello"},
		{"write a 0 hellobye", "write b 0 bye"},
		{"write c 0 hello", "write b 0 bye"},
	} {
		if sum(steps...) == same {
			t.Errorf("%q makes no difference", steps)
		}
	}
}
