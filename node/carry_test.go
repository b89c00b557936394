package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

func (e *endpoint) export(ref, path string) api.ExportResult {
	e.t.Helper()
	res, err := e.node.API().Export(e.t.Context(), ref, api.ExportRequest{Output: path}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return res
}

func (e *endpoint) imports(path string) (api.ImportResult, error) {
	return e.node.API().Import(e.t.Context(), api.ImportRequest{Path: path}, func(api.Progress) {})
}

// isolated returns an issuer and a member of its enterprise. What they carry to each
// other is nothing but a file: imports look for nothing on the network.
func isolated(t *testing.T, change ...func(*Config)) (hq, branch *endpoint) {
	hq = start(t, Config{Name: "hq", Site: "hq"})
	return hq, hq.join("branch", "branch", change...)
}

func TestContentsAreCarriedInFiles(t *testing.T) {
	t.Parallel()
	hq, branch := isolated(t)
	dir := t.TempDir()
	sample(t, filepath.Join(dir, "menu", "a.bin"), 5<<20, 1)
	sample(t, filepath.Join(dir, "menu", "deep", "b.bin"), 70_000, 2)
	sample(t, filepath.Join(dir, "menu", "empty"), 0, 3)
	added := hq.add(api.AddRequest{Paths: []string{filepath.Join(dir, "menu")}, Name: "menu", Version: "1"})
	file := filepath.Join(dir, "menu.car")
	out := hq.export("menu@1", file)
	info, err := os.Stat(file)
	if err != nil || out.Written != info.Size() || out.Releases != 1 || out.Content != added.Content || out.Name != "menu" {
		t.Fatalf("%+v, %v", out, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := hq.node.API().Export(t.Context(), "menu", api.ExportRequest{Output: file}, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over what is there: %v", err)
	}
	if _, err := hq.node.API().Export(t.Context(), "menu", api.ExportRequest{Output: file, Overwrite: true}, nil); err != nil {
		t.Error(err)
	}
	hq.stop()

	got, err := branch.imports(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Content != added.Content || got.Name != "menu" || got.Version != "1" || got.Here != 0 || got.Files != 3 || got.Releases != 1 || got.Signer != "hq" {
		t.Errorf("%+v", got)
	}
	branch.get("menu@1", filepath.Join(dir, "copy"))
	sameTree(t, filepath.Join(dir, "menu"), filepath.Join(dir, "copy"))
	if again, err := branch.imports(file); err != nil || again.Here != added.Size {
		t.Errorf("again: %+v, %v", again, err)
	}
	// And from there to the next: the file is the same.
	branch.export(added.Content, filepath.Join(dir, "again.car"))
	sameFile(t, file, filepath.Join(dir, "again.car"))

	branch.stop()
	branch.run()
	if c, ok := branch.node.store.Get(mustID(t, added.Content)); !ok || !c.Complete() {
		t.Error("it isn't there after a restart")
	}
}

// Nothing of a file that is wrong is stored: bits turned in every kind of section,
// files that end early or have more, contents of somebody else's.
func TestWrongFilesLeaveNothing(t *testing.T) {
	t.Parallel()
	const flips = 60
	hq, branch := isolated(t)
	dir := t.TempDir()
	one := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 2<<20, 1)}, Name: "one"})
	two := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "two"), 1<<20, 2)}, Name: "two"})
	hq.export(one.Content, filepath.Join(dir, "one.car"))
	hq.export(two.Content, filepath.Join(dir, "two.car"))
	file, err := os.ReadFile(filepath.Join(dir, "one.car"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(dir, "two.car"))
	if err != nil {
		t.Fatal(err)
	}
	starts := sections(file)

	wrong := map[string][]byte{
		"empty":          {},
		"one byte short": file[:len(file)-1],
		"one byte more":  append(bytes.Clone(file), 0),
		"one block more": append(bytes.Clone(file), file[starts[len(starts)-1]:]...),
		"a block less":   file[:starts[len(starts)-1]],
		"cut in half":    file[:len(file)/2],
		"another's root": append(bytes.Clone(other[:sections(other)[1]]), file[starts[1]:]...),
		"another's rest": append(bytes.Clone(file[:starts[4]]), other[sections(other)[4]:]...),
		"a block twice":  append(bytes.Clone(file[:starts[len(starts)-1]]), file[starts[len(starts)-2]:starts[len(starts)-1]]...),
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range flips { // the first sections are of every kind: header, bundle, release, root, list, block
		b := bytes.Clone(file)
		at := starts[i%7] + r.IntN(starts[i%7+1]-starts[i%7])
		b[at] ^= 1 << r.IntN(8)
		wrong[fmt.Sprint("flip ", i)] = b
	}
	path := filepath.Join(dir, "wrong.car")
	for name, b := range wrong {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := branch.imports(path)
		if code := api.From(err).Code; err == nil || code != api.Corrupt && code != api.NotPermitted {
			t.Errorf("%s: %v (%s)", name, err, code)
		}
		if all := branch.node.store.List(); len(all) > 0 {
			t.Fatalf("%s: a content stays", name)
		}
		if len(branch.node.catalogue.named("one")) > 0 {
			t.Fatalf("%s: a release stays", name)
		}
	}
	t.Logf("%d files, seed 1", len(wrong))
	if left, err := os.ReadDir(filepath.Join(branch.node.cfg.storeDir(), "content")); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}

	// Signed by a publisher of another enterprise.
	stranger := start(t, Config{Name: "stranger", Site: "x"})
	if _, err := stranger.imports(filepath.Join(dir, "one.car")); api.From(err).Code != api.NotPermitted {
		t.Errorf("of another enterprise: %v", err)
	}
	if _, err := branch.imports(filepath.Join(dir, "nothing.car")); api.From(err).Code != api.Usage {
		t.Errorf("no file: %v", err)
	}
}

// A file that is wrong takes nothing from an import of the same content that goes
// on at the same time.
func TestImportsOfOneContentAtOnce(t *testing.T) {
	t.Parallel()
	hq, branch := isolated(t)
	dir := t.TempDir()
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 8<<20, 1)}, Name: "one"})
	right, wrong := filepath.Join(dir, "right.car"), filepath.Join(dir, "wrong.car")
	hq.export(added.Content, right)
	file, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong, file[:len(file)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	begin := sync.OnceFunc(func() {
		go func() {
			_, err := branch.imports(right)
			ended <- err
		}()
	})
	if _, err := branch.node.API().Import(t.Context(), api.ImportRequest{Path: wrong}, func(api.Progress) { begin() }); api.From(err).Code != api.Corrupt {
		t.Errorf("the wrong one: %v", err)
	}
	begin() // if nothing of the wrong one was told
	if err := <-ended; err != nil {
		t.Errorf("the right one: %v", err)
	}
	if c, ok := branch.node.store.Get(mustID(t, added.Content)); !ok || !c.Complete() {
		t.Error("it isn't here")
	}
}

// sections returns where each section of a CAR begins, and the header.
func sections(file []byte) (starts []int) {
	for at := 0; at < len(file); {
		starts = append(starts, at)
		n, k := binary.Uvarint(file[at:])
		at += k + int(n)
	}
	return starts
}

// What is here in part is made whole by a file; a wrong file takes nothing away.
func TestImportGoesOnFromWhatIsHere(t *testing.T) {
	t.Parallel()
	hq, branch := isolated(t)
	dir := t.TempDir()
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 4<<20, 1)}, Name: "one"})
	hq.export(added.Content, filepath.Join(dir, "one.car"))
	src, _ := hq.node.store.Get(mustID(t, added.Content))
	c, err := branch.node.store.Begin(src.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	node, _ := src.Node(0)
	if err := c.SetBlocks(0, node); err != nil {
		t.Fatal(err)
	}
	data, err := src.ReadBlock(0, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteBlock(0, 0, data); err != nil {
		t.Fatal(err)
	}

	file, err := os.ReadFile(filepath.Join(dir, "one.car"))
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half.car")
	if err := os.WriteFile(half, file[:len(file)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := branch.imports(half); api.From(err).Code != api.Corrupt {
		t.Errorf("half of a file: %v", err)
	}
	if c, ok := branch.node.store.Get(src.ID()); !ok || c.Progress() < int64(len(data)) {
		t.Fatal("what was here is gone")
	}
	res, err := branch.imports(filepath.Join(dir, "one.car"))
	if err != nil || res.Here < int64(len(data)) {
		t.Fatalf("%+v, %v", res, err)
	}
	branch.get(added.Content, filepath.Join(dir, "copy"))
	sameFile(t, filepath.Join(dir, "one"), filepath.Join(dir, "copy"))
}

// What doesn't fit is refused before the first block.
func TestImportLooksForRoomFirst(t *testing.T) {
	t.Parallel()
	hq, branch := isolated(t, func(c *Config) { c.CacheFloor = 1 << 60 })
	dir := t.TempDir()
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 2<<20, 1)}, Name: "one"})
	hq.export(added.Content, filepath.Join(dir, "one.car"))
	if _, err := branch.imports(filepath.Join(dir, "one.car")); !errors.Is(err, content.ErrNoSpace) || api.From(err).Code != api.NoSpace {
		t.Errorf("%v", err)
	}
	if len(branch.node.store.List()) > 0 {
		t.Error("a content stays")
	}
}

// What isn't whole, or is signed by nobody any more, isn't written.
func TestExportRefuses(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	dir := t.TempDir()
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 2<<20, 1)}, Name: "one"})
	out := filepath.Join(dir, "one.car")
	try := func(ref string) api.Code {
		_, err := hq.node.API().Export(t.Context(), ref, api.ExportRequest{Output: out}, nil)
		if err == nil {
			t.Fatal("exported")
		}
		return api.From(err).Code
	}
	if code := try("nothing"); code != api.NotFound {
		t.Errorf("unknown: %s", code)
	}
	hq.node.catalogue.remove(mustID(t, added.Content))
	if code := try(added.Content); code != api.NotPermitted {
		t.Errorf("without a release: %s", code)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.car*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// An export takes nobody's place without being told to, not even that of a file
// that came while it wrote.
func TestExportTakesNoOtherFilesPlace(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	dir := t.TempDir()
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "one"), 2<<20, 1)}, Name: "one"})
	out := filepath.Join(dir, "one.car")
	var once sync.Once
	meanwhile := func(api.Progress) {
		once.Do(func() {
			if err := os.WriteFile(out, []byte("another's"), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := hq.node.API().Export(t.Context(), "one", api.ExportRequest{Output: out}, meanwhile)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(api.From(err).Next, "--overwrite") {
		t.Errorf("over a file that came meanwhile: %v", err)
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "another's" {
		t.Errorf("it holds %d bytes now, %v", len(b), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for path, next := range map[string]string{
		filepath.Join(dir, "missing", "one.car"): "Make the folder " + filepath.Join(dir, "missing"),
		filepath.Join(dir, "one", "one.car"):     "another --output", // below a file
		dir:                                      "Name the file",
	} {
		_, err := hq.node.API().Export(t.Context(), "one", api.ExportRequest{Output: path, Overwrite: true}, nil)
		if e := api.From(err); err == nil || !strings.Contains(e.Next, next) {
			t.Errorf("to %s: %v, next %q", path, err, e.Next)
		}
	}
	if runtime.GOOS == "linux" { // a folder that is there and takes no files
		_, err := hq.node.API().Export(t.Context(), "one", api.ExportRequest{Output: "/proc/one.car"}, nil)
		if e := api.From(err); err == nil || !strings.Contains(e.Message, "write into /proc:") || strings.Contains(e.Next, "Make the folder") {
			t.Errorf("to /proc: %v, next %q", err, e.Next)
		}
	}
}
