package node

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

func TestPublishSeveralPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"z/b": []byte("b"), "a.txt": []byte("a"), "other/a.txt": nil, "other/A.TXT": nil})
	at := func(p string) string { return filepath.Join(dir, filepath.FromSlash(p)) }
	newest := publishTime.Add(time.Hour)
	if err := os.Chtimes(at("a.txt"), newest, newest); err != nil {
		t.Fatal(err)
	}
	got, err := publish(t.Context(), newTestStage(t), []string{at("z"), at("a.txt")}, publishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range got.Manifest.Files {
		paths = append(paths, f.Path)
	}
	if want := []string{".", "a.txt", "z", "z/b"}; !slices.Equal(paths, want) {
		t.Errorf("paths are %q, want %q", paths, want)
	}
	if top := got.Manifest.Files[0]; top.Mode != fs.ModeDir|0o755 || !top.ModTime.Equal(newest) {
		t.Errorf("the folder for all has mode %v and time %v", top.Mode, top.ModTime)
	}

	_, err = publish(t.Context(), newTestStage(t), []string{at("a.txt"), at("other/a.txt")}, publishOptions{})
	if !errors.Is(err, content.ErrPath) || !strings.Contains(err.Error(), at("other/a.txt")) {
		t.Errorf("twice one name: %v", err)
	}
	if runtime.GOOS == "linux" { // elsewhere it is one file
		_, err = publish(t.Context(), newTestStage(t), []string{at("a.txt"), at("other/A.TXT")}, publishOptions{})
		if !errors.Is(err, content.ErrPath) {
			t.Errorf("twice one name but for case: %v", err)
		}
	}
	if _, err := publish(t.Context(), newTestStage(t), nil, publishOptions{}); !errors.Is(err, content.ErrPath) {
		t.Errorf("no path: %v", err)
	}
}

func TestPublishComposesNames(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not on windows")
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string][]byte{"e\u0301/u\u0308": nil, "ez": nil}) // as macOS may tell them
	got, err := publish(t.Context(), newTestStage(t), []string{dir}, publishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range got.Manifest.Files {
		paths = append(paths, f.Path)
	}
	if want := []string{".", "ez", "é", "é/ü"}; !slices.Equal(paths, want) {
		t.Errorf("paths are %q, want %q", paths, want)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not on windows")
	}
	for name, c := range map[string]struct {
		make func(dir string) error
		want error
	}{
		"a link":           {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "bad")) }, content.ErrPath},
		"a link to nobody": {func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "bad")) }, content.ErrPath},
		"a link in a loop": {func(dir string) error { return os.Symlink(".", filepath.Join(dir, "bad")) }, content.ErrPath},
		"a socket":         {func(dir string) error { return socket(t, filepath.Join(dir, "bad")) }, content.ErrPath},
		"a colon":          {func(dir string) error { return os.WriteFile(filepath.Join(dir, "bad:"), nil, 0o600) }, content.ErrPath},
		"a Windows device": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "aux.bad"), nil, 0o600) }, content.ErrPath},
		"two cases":        {func(dir string) error { return os.WriteFile(filepath.Join(dir, "GOOD"), nil, 0o600) }, content.ErrPath},
		"a deep tree":      {func(dir string) error { return os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 150)+"bad"), 0o700) }, content.ErrPath},
	} {
		if name == "two cases" && runtime.GOOS != "linux" {
			continue // elsewhere it is one file
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, map[string][]byte{"good": []byte("good"), "sub/good": publishRandom(1, 1000)})
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			stage := newTestStage(t)
			_, err := publish(t.Context(), stage, []string{dir}, publishOptions{})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if name != "a deep tree" && name != "two cases" && !strings.Contains(err.Error(), "bad") {
				t.Errorf("the error doesn't name the file: %v", err)
			}
			if left, _ := fs.ReadDir(stage.root.FS(), "."); len(left) > 0 {
				t.Errorf("read %v before it was refused", left)
			}
		})
	}
	_, err := publish(t.Context(), newTestStage(t), []string{filepath.Join(t.TempDir(), "missing")}, publishOptions{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for _, opt := range []publishOptions{{Type: "Bad Type"}, {Labels: map[string]string{"": ""}}} {
		if _, err := publish(t.Context(), newTestStage(t), []string{t.TempDir()}, opt); !errors.Is(err, content.ErrFormat) {
			t.Errorf("%+v: %v, want ErrFormat", opt, err)
		}
	}
}

// socket makes a socket's file, which is neither plain nor a folder.
func socket(t *testing.T, path string) error {
	l, err := net.Listen("unix", path)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return err
}
