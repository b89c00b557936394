package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/p2pnode/p2pnode/content"
)

func inPlaceTree(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "tree")
	writeTree(t, dir, map[string][]byte{
		"large": publishRandom(1, 5<<20+77), "sub/small": publishRandom(2, 1000), "sub/empty": nil, "z/piece": publishRandom(3, publishPieceSize),
	})
	return dir
}

// Copied, in the stage already or where they are: files make the same content.
func TestPublishWithoutCopyingIsTheSame(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := inPlaceTree(t)
	opt := publishOptions{Type: "app", Labels: map[string]string{"a": "b"}}
	stage := newTestStage(t)
	copied, err := publish(t.Context(), stage, []string{dir}, opt)
	if err != nil {
		t.Fatal(err)
	}
	staged, err := publishStaged(t.Context(), stage, copied.Manifest.Files, opt)
	if err != nil {
		t.Fatal(err)
	}
	there, entries, err := publishInPlace(t.Context(), []string{dir}, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []*published{staged, there} {
		if got.Encoded.ID != copied.Encoded.ID || got.Files != copied.Files || got.New != copied.New || !slices.EqualFunc(got.Blocks, copied.Blocks, slices.Equal) {
			t.Errorf("%v with %d files, copied it is %v with %d", got.Encoded.ID, got.Files, copied.Encoded.ID, copied.Files)
		}
	}
	for i, f := range there.Manifest.Files {
		if want := filepath.Join(dir, filepath.FromSlash(f.Path)); entries[i].source != want {
			t.Errorf("%s is said to be at %s", f.Path, entries[i].source)
		}
	}
}

// Nothing else vouches for files that nobody copied: whatever changes them, at
// any time until they are published, ends it.
func TestPublishInPlaceNoticesChanges(t *testing.T) {
	rewrite := func(name string) func(dir string) error {
		return func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("changed"), 0)
			return errors.Join(err, f.Close())
		}
	}
	for name, change := range map[string]func(dir string) error{
		"large rewritten": rewrite("large"),
		"small rewritten": rewrite("sub/small"),
		"cut short":       func(dir string) error { return os.Truncate(filepath.Join(dir, "large"), 1<<20) },
		"removed":         func(dir string) error { return os.Remove(filepath.Join(dir, "sub/small")) },
		"one more":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "sub/new"), nil, 0o600) },
		"bytes behind the time's back": func(dir string) error {
			return errors.Join(rewrite("large")(dir), os.Chtimes(filepath.Join(dir, "large"), publishTime, publishTime))
		},
	} {
		for _, phase := range []string{publishReads, publishVerifies} {
			if phase == publishVerifies && strings.HasPrefix(name, "bytes") {
				continue // read back already, and told by nothing but its bytes, when they are served
			}
			t.Run(name+", "+phase, func(t *testing.T) {
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
				dir, changed := inPlaceTree(t), false
				_, _, err := publishInPlace(t.Context(), []string{dir}, publishOptions{Progress: func(p string, done, total int64) {
					if p != phase || done != total || changed {
						return
					}
					changed = true
					if err := change(dir); err != nil {
						t.Error(err)
					}
				}})
				if !errors.Is(err, content.ErrChanged) && !errors.Is(err, content.ErrCorrupt) {
					t.Errorf("%v, want ErrChanged", err)
				}
			})
		}
	}
}

func TestPublishAsksForRoom(t *testing.T) {
	t.Parallel()
	dir := inPlaceTree(t)
	var asked int64
	opt := publishOptions{Room: func(size int64) error { asked = size; return content.ErrNoSpace }}
	stage := newTestStage(t)
	if _, err := publish(t.Context(), stage, []string{dir}, opt); !errors.Is(err, content.ErrNoSpace) || asked != 5<<20+77+1000+publishPieceSize {
		t.Errorf("%v after %d bytes were asked for", err, asked)
	}
	opt.Cost = func(files []content.File) int64 { return int64(len(files)) }
	if _, err := publish(t.Context(), stage, []string{dir}, opt); !errors.Is(err, content.ErrNoSpace) || asked != 7 {
		t.Errorf("%v after what %d files and folders take was asked for", err, asked)
	}
	if left, err := fs.ReadDir(stage.root.FS(), "."); err != nil || len(left) > 0 {
		t.Errorf("%v in the stage (%v)", left, err)
	}
	if _, _, err := publishInPlace(t.Context(), []string{dir}, opt); err != nil {
		t.Errorf("what isn't copied needs no room: %v", err)
	}
}
