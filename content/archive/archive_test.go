package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/p2pnode/p2pnode/content"
)

// What the tools of Debian 12 make of one tree is that tree.
func TestUnpackWhatToolsMake(t *testing.T) {
	const data = "drwxr-xr-x 2024-02-29T12:34:56Z app\n" +
		"drwxr-xr-x 2024-02-29T12:34:56Z app/bin\n" +
		"-rwxr-xr-x 2024-02-29T12:34:56Z app/bin/run 17 bafyreibqnrwkoqdvma2apf4gnydx4bjwe6wubetx2g45uwaqn7hez5yxzm\n" +
		"-rw-r--r-- 2024-02-29T12:34:56Z app/data.bin 5000 bafyreigts4kzhe64e6e6qmmdwewqxsyd45f2kfkgkpufjg6bgj2jjlkdwm\n" +
		"drwxr-xr-x 2024-02-29T12:34:56Z app/empty\n" +
		"-rw-r--r-- 2024-02-29T12:34:56Z app/readme.txt 6 bafyreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am\n"
	root := "drwxr-xr-x 2024-02-29T12:34:56Z .\n"
	control := "drwxr-xr-x 2024-02-29T12:34:56Z DEBIAN\n-rw-r--r-- 2024-02-29T12:34:56Z DEBIAN/control 105 bafyreicvcmxrmncleb672isbdfhewnvuvzy2wzejuro6fuvl3msq6qfec4\n"
	for file, want := range map[string]struct{ kind, list string }{
		"gzip.tar.gz":   {"tar.gz", root + data},
		"bzip2.tar.bz2": {"tar.bz2", root + data},
		"xz.tar.xz":     {"tar.xz", root + data},
		"zstd.tar.zst":  {"tar.zst", root + data},
		"infozip.zip":   {"zip", root + data},
		"dpkg-xz.deb":   {"deb", root + control + data},
		"dpkg-zstd.deb": {"deb", root + control + data},
	} {
		packed, err := os.ReadFile(filepath.Join("testdata", file))
		check(t, err)
		tree, m, err := try(packed, Options{})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got := m.list(tree)
		if tree.Kind != want.kind || got != want.list {
			t.Errorf("%s: %s\n%s", file, tree.Kind, got)
		}
	}
}

// sample is a tree with what tools differ in: names with "./", folders that come
// late or not at all, composed and decomposed names.
var sample = []item{
	{name: "./"},
	{name: "./b/late/file", data: strings.Repeat("late ", 2_000)},
	{name: "b/", mode: 0o700},
	{name: "b.txt", data: "after b and what is in it"},
	{name: "a/u\u0308ber", data: "composed in a manifest", mode: 0o600},
	{name: "run", data: "#!", mode: 0o755},
	{name: "empty", data: ""},
	{name: "empty folder/"},
}

const sampleList = `drwxr-xr-x .
drwxr-xr-x a
-rw------- a/über
drwx------ b
drwxr-xr-x b/late
-rw-r--r-- b/late/file
-rw-r--r-- b.txt
-rw-r--r-- empty
drwxr-xr-x empty folder
-rwxr-xr-x run
`

func everyKind(t testing.TB, items ...item) map[string][]byte {
	plain := tarOf(t, items...)
	control := gz(t, tarOf(t, item{name: "./"}, item{name: "./control", data: "Package: sample\n"}))
	return map[string][]byte{
		"tar": plain, "tar.gz": gz(t, plain), "tar.zst": zst(t, plain), "tar.xz": xzip(t, plain), "zip": zipOf(t, items...),
		"deb": debOf(item{name: "debian-binary", data: "2.0\n"}, item{name: "control.tar.gz", data: string(control)},
			item{name: "_signature", data: "odd"}, item{name: "data.tar.xz", data: string(xzip(t, plain))}),
	}
}

func TestUnpackEveryKind(t *testing.T) {
	for kind, packed := range everyKind(t, sample...) {
		var done, total int64
		tree, m, err := try(packed, Options{Progress: func(d, a int64) {
			if d < done {
				t.Errorf("%s: progress went from %d to %d", kind, done, d)
			}
			done, total = d, a
		}})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if tree.Kind != kind || tree.Skipped != 0 {
			t.Errorf("%s is said to be %s, with %d left out", kind, tree.Kind, tree.Skipped)
		}
		if done == 0 || total != int64(len(packed)) || done > total {
			t.Errorf("%s: progress ended at %d of %d, of %d", kind, done, total, len(packed))
		}
		var got string
		for _, f := range tree.Files {
			if !f.ModTime.Equal(then) {
				t.Errorf("%s: %s has time %v", kind, f.Path, f.ModTime)
			}
			if strings.HasPrefix(f.Path, controlFolder) {
				continue
			}
			got += fmt.Sprintln(f.Mode, f.Path)
			if b := m.files[f.Path]; !f.Mode.IsDir() && int64(b.Len()) != f.Size {
				t.Errorf("%s: %s has %d bytes, not %d", kind, f.Path, b.Len(), f.Size)
			}
		}
		if got != sampleList {
			t.Errorf("%s:\n%s", kind, got)
		}
		if got := m.files["b/late/file"].String(); got != sample[1].data {
			t.Errorf("%s: other bytes", kind)
		}
		if control := m.files["DEBIAN/control"]; (kind == "deb") != (control != nil) {
			t.Errorf("%s: control file %v", kind, control)
		}
	}
}

// Whatever is missing at the end, it is no archive.
func TestUnpackCutShort(t *testing.T) {
	kinds := everyKind(t, sample...)
	for _, file := range []string{"bzip2.tar.bz2", "dpkg-zstd.deb"} {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		check(t, err)
		kinds[file] = b
	}
	for kind, packed := range kinds {
		whole := len(packed)
		switch kind {
		case "tar":
			whole -= tarBlock // one empty block is enough
		case "dpkg-zstd.deb":
			whole-- // ar fills members up to an even size, the last too
		}
		step := max(1, whole/40)
		for n := 0; n < whole; n += step {
			if n > whole-80 {
				step = 1
			}
			if _, _, err := try(packed[:n], Options{}); !errors.Is(err, content.ErrFormat) {
				t.Errorf("%s: the first %d of %d bytes: %v", kind, n, len(packed), err)
			}
		}
	}
}

// A bit that flips in packed bytes is told by a checksum; elsewhere it may change
// a name or a time, which nobody can know.
func TestUnpackDamaged(t *testing.T) {
	for kind, packed := range everyKind(t, item{name: "a", data: strings.Repeat("0123456789", 300)}) {
		if kind == "tar" || kind == "deb" {
			continue
		}
		good, _, err := try(packed, Options{})
		check(t, err)
		for at := range packed {
			bad := bytes.Clone(packed)
			bad[at] ^= 0x10
			tree, m, err := try(bad, Options{})
			if err != nil {
				if !errors.Is(err, content.ErrFormat) && !errors.Is(err, content.ErrPath) {
					t.Errorf("%s: byte %d: %v", kind, at, err)
				}
				continue
			}
			for _, f := range tree.Files {
				if b := m.files[f.Path]; b != nil && b.String() != strings.Repeat("0123456789", 300) {
					t.Errorf("%s: byte %d: wrong bytes were taken for %v", kind, at, good.Files)
				}
			}
		}
	}
}

func TestUnpackLeavesLinksOut(t *testing.T) {
	links := []item{
		{name: "lib/libx.so.1", data: "x"},
		{name: "lib/libx.so", kind: '2', link: "libx.so.1"},
		{name: "etc/secret", kind: '2', link: "/etc/shadow"},
		{name: "pipe", kind: '6'},
	}
	hard := []item{{name: "hard", kind: '1', link: "lib/libx.so.1"}, {name: "tty", kind: '3'}, {name: "sda", kind: '4'}}
	for kind, packed := range map[string][]byte{"tar": tarOf(t, append(links, hard...)...), "zip": zipOf(t, links...)} {
		_, _, err := try(packed, Options{})
		if !errors.Is(err, content.ErrPath) || !strings.Contains(err.Error(), "lib/libx.so\" is a symbolic link") {
			t.Errorf("%s: %v, want the first link", kind, err)
		}
		tree, m, err := try(packed, Options{SkipLinks: true})
		check(t, err)
		want := map[string]int{"tar": 6, "zip": 3}[kind]
		if tree.Skipped != want || len(tree.SkippedList) != want || len(m.files) != 1 || len(tree.Files) != 4 {
			t.Errorf("%s: %d left out: %q; %v", kind, tree.Skipped, tree.SkippedList, tree.Files)
		}
		if kind == "tar" && tree.SkippedList[1] != "etc/secret -> /etc/shadow" {
			t.Errorf("left out: %q", tree.SkippedList)
		}
	}
	// What lies behind a link would be in another folder, were there links.
	behind := tarOf(t, item{name: "lib", kind: '2', link: "usr/lib"}, item{name: "lib/a", data: "a"})
	if _, _, err := try(behind, Options{SkipLinks: true}); !errors.Is(err, content.ErrPath) {
		t.Errorf("behind a link: %v", err)
	}
	var many []item
	for i := range 2 * ShowSkipped {
		many = append(many, item{name: fmt.Sprint(i), kind: '2', link: strings.Repeat("x", 90)})
	}
	tree, _, err := try(tarOf(t, many...), Options{SkipLinks: true})
	if check(t, err); tree.Skipped != 2*ShowSkipped || len(tree.SkippedList) != ShowSkipped {
		t.Errorf("%d left out, %d listed", tree.Skipped, len(tree.SkippedList))
	}
}

func TestUnpackTellsWhoFailed(t *testing.T) {
	boom := errors.New("boom")
	for kind, packed := range everyKind(t, sample...) {
		// The target.
		m := newMemory()
		m.fail = boom
		if _, err := Unpack(t.Context(), bytes.NewReader(packed), int64(len(packed)), m, Options{}); !errors.Is(err, boom) || errors.Is(err, content.ErrFormat) {
			t.Errorf("%s: target: %v", kind, err)
		}
		// The disk that the archive is on, at every tenth of it.
		for i := range 10 {
			from := failingAt{packed, int64(len(packed) * i / 10), boom}
			if _, err := Unpack(t.Context(), from, int64(len(packed)), newMemory(), Options{}); !errors.Is(err, boom) || errors.Is(err, content.ErrFormat) {
				t.Errorf("%s: source: %v", kind, err)
			}
		}
		// Room, asked before anything is written.
		o := Options{Room: func(int64) error { return boom }}
		m = newMemory()
		if _, err := Unpack(t.Context(), bytes.NewReader(packed), int64(len(packed)), m, o); !errors.Is(err, boom) {
			t.Errorf("%s: room: %v", kind, err)
		}
		for p, b := range m.files {
			if b.Len() > 0 && p != "DEBIAN/control" {
				t.Errorf("%s: %s was written without room", kind, p)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		o = Options{Progress: func(int64, int64) { cancel() }}
		if _, err := Unpack(ctx, bytes.NewReader(packed), int64(len(packed)), newMemory(), o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: canceled: %v", kind, err)
		}
	}
}

// failingAt can't be read from a place on.
type failingAt struct {
	data []byte
	at   int64
	err  error
}

func (f failingAt) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.at {
		n := 0
		if at < f.at {
			n = copy(b, f.data[at:f.at])
		}
		return n, f.err
	}
	return bytes.NewReader(f.data).ReadAt(b, at)
}

// Room is asked for all that is written, and not for each small file.
func TestUnpackAsksForRoom(t *testing.T) {
	var items []item
	for i := range 500 {
		items = append(items, item{name: fmt.Sprint(i), data: strings.Repeat("x", 5000)})
	}
	items = append(items, item{name: "large", data: strings.Repeat("y", roomStep+1)})
	var asked, calls int64
	_, m, err := try(tarOf(t, items...), Options{Room: func(more int64) error { asked += more; calls++; return nil }})
	check(t, err)
	var size int64
	for _, b := range m.files {
		size += int64(b.Len())
	}
	if asked < size || calls > 3 {
		t.Errorf("asked %d times for %d bytes to write %d", calls, asked, size)
	}
	// What a file takes counts, not what it has.
	asked = 0
	_, _, err = try(tarOf(t, items[:500]...), Options{
		Room: func(more int64) error { asked += more; return nil },
		Cost: func(size int64) int64 { return size + 100_000 },
	})
	check(t, err)
	if asked < 500*105_000 {
		t.Errorf("asked for %d bytes, and files take %d", asked, 500*105_000)
	}
	// Where a step doesn't fit, the file may.
	tight := func(more int64) error {
		if more > 5000 {
			return content.ErrNoSpace
		}
		return nil
	}
	if _, _, err := try(tarOf(t, items[:500]...), Options{Room: tight}); err != nil {
		t.Errorf("refused what fits: %v", err)
	}
}

// The guard of xz reads streams in pieces of any size as the decoder does.
func TestXZGuardReadsInPieces(t *testing.T) {
	plain := tarOf(t, sample...)
	packed := xzip(t, plain)
	for name, slow := range map[string]func(io.Reader) io.Reader{"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with the end": iotest.DataErrReader} {
		r, err := openXZ(slow(bytes.NewReader(packed)), usual)
		check(t, err)
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d of %d bytes: %v", name, len(got), len(plain), err)
		}
	}
}
