//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A release is two versions of something big and real: a Go module or a Debian
// package. When an archive no longer serves one, choose two that it does (`apt-cache
// madison NAME`) and make the tables anew.
type release struct {
	name     string
	module   string // or
	pkg      string // "NAME" with versions behind "=", or "NAME-%s" with versions in the name
	old, new string
	// In which forms of packing it is measured, too; Go's and Linux's thousands of
	// files are more than gcab takes.
	forms []form
}

var releases = []release{
	{name: "Go toolchain 1.26.7 to 1.26.8", module: "golang.org/toolchain", old: "v0.0.1-go1.26.7.linux-amd64", new: "v0.0.1-go1.26.8.linux-amd64", forms: forms[:len(forms)-1]},
	{name: "LibreOffice core 7.4.7 deb12u13 to u14", pkg: "libreoffice-core", old: "4:7.4.7-1+deb12u13", new: "4:7.4.7-1+deb12u14", forms: forms},
	{name: "Linux 6.1.192-1 to 6.1.192-2", pkg: "linux-image-6.1.0-%s-amd64", old: "55", new: "56"},
	{name: "Linux 6.1.177 to 6.1.180", pkg: "linux-image-6.1.0-%s-amd64", old: "51", new: "52", forms: forms[:len(forms)-1]},
	{name: "Chromium 150 to 156", pkg: "chromium", old: "150.0.7871.100-1~deb12u1", new: "156.0.8078.79-1~deb12u1"},
}

// A shelf is a folder in which what was made once is found again.
type shelf string

// made returns the path of name, which make makes unless it is there. Make
// writes to another name: what was left half-made is not taken for whole.
func (s shelf) made(name string, make func(path string) error) (string, error) {
	path := filepath.Join(string(s), name)
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	half := path + ".half"
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(filepath.Dir(path), 0o755)); err != nil {
		return "", err
	}
	if err := make(half); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return path, os.Rename(half, path)
}

// tool runs a program in dir and returns what it wrote. Debian's package of it
// is named in case it is missing.
func tool(ctx context.Context, dir, debian string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%w: apt-get install %s", err, debian)
		}
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, end(stderr.String()))
	}
	return stdout.String(), nil
}

func end(s string) string { return s[max(0, len(s)-1<<10):] }

// fetch returns the package of a version as it is served, and the tree in it.
func (r release) fetch(ctx context.Context, s shelf, version string) (file, tree string, err error) {
	if r.module != "" {
		return r.fetchModule(ctx, s, version)
	}
	name := r.pkg + "=" + version
	if strings.Contains(r.pkg, "%s") {
		name = fmt.Sprintf(r.pkg, version)
	}
	folder := "deb/" + strings.NewReplacer(":", "_", "/", "_").Replace(name)
	if folder, err = s.made(folder, func(half string) error {
		if err := os.MkdirAll(half, 0o755); err != nil {
			return err
		}
		if _, err := tool(ctx, half, "apt", "apt-get", "download", name); err != nil {
			return fmt.Errorf("%w: if it is served no longer, choose others in testnet/bench/inputs.go; else apt-get update", err)
		}
		return nil
	}); err != nil {
		return "", "", err
	}
	debs, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", "", fmt.Errorf("%s has %d packages (want 1): remove it (%w)", folder, len(debs), err)
	}
	tree, err = s.made("tree/"+filepath.Base(folder), func(half string) error {
		_, err := tool(ctx, "", "dpkg", "dpkg-deb", "-R", debs[0], half)
		return err
	})
	return debs[0], tree, err
}

// fetchModule has the go tool fetch a module, checked against its sums. Modules
// come without times: a tree gets one for all its files, its version's.
func (r release) fetchModule(ctx context.Context, s shelf, version string) (file, tree string, err error) {
	scratch, err := s.made("module", func(half string) error {
		if err := os.MkdirAll(half, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(half, "go.mod"), []byte("module scratch\n"), 0o644)
	})
	if err != nil {
		return "", "", err
	}
	cache, err := filepath.Abs(filepath.Join(string(s), "mod"))
	if err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", r.module+"@"+version)
	cmd.Dir = scratch
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -modcacherw", "GOWORK=off", "GOMODCACHE="+cache)
	var got struct{ Zip, Dir, Error string }
	text, err := cmd.Output()
	if err := errors.Join(json.Unmarshal(text, &got), err); err != nil || got.Error != "" {
		return "", "", fmt.Errorf("download %s@%s: %w: %s", r.module, version, err, got.Error)
	}
	when := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if version == r.new {
		when = when.AddDate(0, 1, 0)
	}
	return got.Zip, got.Dir, filepath.WalkDir(got.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, when, when)
	})
}

// A form is a way of packing a tree into one file.
type form struct {
	name   string
	suffix string
	pack   func(ctx context.Context, tree, to string) error
}

// shell packs with a script, which has the tree as $1 and what to write as $2.
func shell(name, suffix, debian, script string) form {
	return form{name, suffix, func(ctx context.Context, tree, to string) error {
		tree, to, err := absolute(tree, to)
		if err != nil {
			return err
		}
		_, err = tool(ctx, tree, debian, "sh", "-ec", script, "sh", tree, to)
		return err
	}}
}

func absolute(a, b string) (string, string, error) {
	a, err := filepath.Abs(a)
	if err != nil {
		return "", "", err
	}
	b, err = filepath.Abs(b)
	return a, b, err
}

// forms are how software travels. What can be the same for both versions (names
// of volumes, ids of file systems, the order of files) is; the files' times are
// their own, except where the form says so.
var forms = []form{
	shell("tar: a docker layer, unpacked", ".tar", "tar", tarred+` "$2"`),
	shell("tar, all times equal", ".same.tar", "tar", tarred+` "$2" --mtime=@0`),
	shell("tar.gz: a docker layer", ".tar.gz", "tar gzip", tarred+` - | gzip -n >"$2"`),
	shell("tar.gz by gzip --rsyncable, times equal", ".sync.tar.gz", "tar gzip", tarred+` - --mtime=@0 | gzip -n --rsyncable >"$2"`),
	shell("zip", ".zip", "zip", `find . -type d -o -type f | LC_ALL=C sort | zip -qX -@ "$2.zip" && mv "$2.zip" "$2"`),
	shell("ISO image", ".iso", "genisoimage", `genisoimage -quiet -R -V volume -o "$2" .`),
	shell("disk image, ext4", ".ext4", "e2fsprogs", `
		size=$(du -sk --apparent-size . | cut -f 1); files=$(find . | wc -l)
		E2FSPROGS_FAKE_TIME=1767225600 mkfs.ext4 -q -U 6c6f6f6b-2061-4074-8069-732100000000 \
			-E hash_seed=6c6f6f6b-2061-4074-8069-732100000001,lazy_itable_init=0 -N $((files + 1000)) -d . "$2" $((size * 21 / 20 + files * 4 + 32768))k`),
	shell("cab: what is in an msi", ".cab", "gcab", `find . -type f | LC_ALL=C sort | sed 's,^\./,,' | tr '\n' '\0' | xargs -0 gcab -czn "$2"`),
}

const tarred = `tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner -c . -f`

// packed returns the file that f makes of a tree.
func (f form) packed(ctx context.Context, s shelf, tree string) (string, error) {
	return s.made("packed/"+filepath.Base(tree)+f.suffix, func(half string) error { return f.pack(ctx, tree, half) })
}

// edited writes two files of size random bytes: the second has 1 % of it and 13
// bytes inserted near its start, and overwrites of 64 KiB at random places that
// make another 4 %. Of 100 MiB that is 1 MiB + 13 and 64 of them.
func edited(dir string, size int64, seed uint64) (old, new string, err error) {
	const overwrite = 64 << 10
	var key [32]byte
	key[0] = byte(seed)
	bytes := rand.NewChaCha8(key)
	rng := rand.New(rand.NewPCG(seed, 0))
	data := func(n int64) []byte {
		b := make([]byte, n)
		_, _ = bytes.Read(b) // never fails
		return b
	}
	a := data(size)
	at := rng.Int64N(size / 100)
	b := slices.Concat(a[:at], data(size/100+13), a[at:])
	for range 64 * size / (100 << 20) {
		copy(b[rng.Int64N(int64(len(b))-overwrite):], data(overwrite))
	}
	old, new = filepath.Join(dir, "old.bin"), filepath.Join(dir, "new.bin")
	return old, new, errors.Join(os.WriteFile(old, a, 0o644), os.WriteFile(new, b, 0o644))
}
