package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

func TestFolderIsPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not on windows: modes are not its way")
	}
	dir := t.TempDir()
	id, err := Init(dir, "hq", "first")
	check(t, err)
	check(t, id.Close())
	loosen := func() {
		check(t, filepath.WalkDir(id.memory.dir.path, func(p string, e fs.DirEntry, _ error) error {
			return os.Chmod(p, map[bool]fs.FileMode{true: 0o755, false: 0o644}[e.IsDir()])
		}))
	}
	private := func() {
		t.Helper()
		check(t, filepath.WalkDir(id.memory.dir.path, func(p string, e fs.DirEntry, _ error) error {
			fi, err := e.Info()
			if err == nil && fi.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s", p, fi.Mode())
			}
			return err
		}))
	}
	private()
	loosen()
	id, err = Load(dir)
	check(t, err)
	check(t, id.Close())
	private()

	// Someone put a link in the place of a file, or the folder.
	key := id.memory.dir.join("host.key")
	check(t, os.Rename(key, filepath.Join(dir, "elsewhere")))
	check(t, os.Symlink(filepath.Join(dir, "elsewhere"), key))
	if _, err := Load(dir); err == nil {
		t.Error("opened with a link for a key")
	}
	linked := t.TempDir()
	check(t, os.Symlink(id.memory.dir.path, filepath.Join(linked, folderName)))
	if _, err := Load(linked); err == nil {
		t.Error("opened through a link")
	}
	if _, err := Init(linked, "hq", "x"); !errors.Is(err, ErrHasIdentity) {
		t.Errorf("made behind a link: %v", err)
	}
}

func TestNoIdentity(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, ErrNoIdentity) {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"", "n"}, {"a b", "n"}, {"A", "n"}, {"hq", ""}, {"hq", "-"}, {"hq", strings.Repeat("n", maxName+1)}, {"hq", "é"}} {
		dir := t.TempDir()
		if _, err := Init(dir, c[0], c[1]); err == nil {
			t.Errorf("made with site %q and name %q", c[0], c[1])
		}
		if e, _ := os.ReadDir(dir); len(e) > 0 {
			t.Errorf("left %v", e)
		}
	}
}

// What an issuer did is there after a restart.
func TestIssuerRemembers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Init(dir, "hq", "first")
	check(t, err)
	tok, err := id.Invite(InviteOptions{Site: "x", Name: "one", Bootstrap: []string{anyAddress}})
	check(t, err)
	gone, err := id.Invite(InviteOptions{Site: "x", Bootstrap: []string{anyAddress}})
	check(t, err)
	check(t, id.Withdraw(gone))
	key := newKey(t)
	_, err = id.authority.claim(tok.ID[:], tok.Secret[:], "", key.GetPublic(), time.Now())
	check(t, err)
	_, err = id.Revoke("one", "why")
	check(t, err)
	before, err := id.Members()
	check(t, err)
	heads := id.revoked.heads()
	check(t, id.Close())
	id, err = Load(dir)
	check(t, err)
	defer func() { check(t, id.Close()) }()
	after, err := id.Members()
	check(t, err)
	if len(before) != len(after) || !slices.Equal(heads, id.revoked.heads()) {
		t.Fatalf("%v became %v", before, after)
	}
	for i := range before {
		b, a := before[i], after[i]
		if b.Credential != a.Credential || (b.Revoked == nil) != (a.Revoked == nil) || b.Reason != a.Reason {
			t.Errorf("%+v became %+v", b, a)
		}
	}
	refused(t, id, tok, newKey(t).GetPublic(), time.Now(), ErrTokenUsed)
	refused(t, id, tok, key.GetPublic(), time.Now(), ErrRevoked)
	refused(t, id, gone, newKey(t).GetPublic(), time.Now(), ErrTokenUnknown)
	raw, err := os.ReadFile(id.memory.dir.join(ledgerNames[0]))
	check(t, err)
	if strings.Contains(string(raw), string(tok.Secret[:])) {
		t.Error("the secret is in the ledger")
	}
}

// R12: releases of a name never go back, across restarts.
func TestReleasesNeverGoBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Init(dir, "hq", "first")
	check(t, err)
	defer func() { check(t, id.Close()) }()
	a, b := content.ID{1}, content.ID{2}
	for _, c := range []struct {
		name string
		seq  uint64
		id   content.ID
		want error
	}{
		{"app", 5, a, nil}, {"app", 5, a, nil}, {"app", 5, b, ErrEquivocation}, {"app", 4, a, ErrRollback}, {"app", 4, b, ErrRollback},
		{"app", 6, b, nil}, {"app", 5, a, ErrRollback}, {"other", 1, a, nil}, {"app", 0, b, ErrRollback}, {"new", 0, a, nil},
	} {
		check(t, id.Close())
		id, err = Load(dir)
		check(t, err)
		if err := id.Accept(c.name, c.seq, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s %d: %v, want %v", c.name, c.seq, err, c.want)
		}
	}
	if seq, c, ok := id.Seen("app"); !ok || seq != 6 || c != b {
		t.Errorf("app is at %d %s", seq, c)
	}
	if _, _, ok := id.Seen("never"); ok {
		t.Error("a name never seen is known")
	}
	if err := id.Accept("", 1, a); err == nil {
		t.Error("no name taken")
	}
	// What can't be written is not accepted.
	check(t, os.RemoveAll(id.memory.dir.path))
	if err := id.Accept("app", 7, a); err == nil {
		t.Error("accepted without a disk")
	}
	if seq, _, _ := id.Seen("app"); seq != 6 {
		t.Errorf("app is at %d", seq)
	}
}

// Whoever opens a folder after Close finds nobody writing to it.
func TestClosedIdentityWritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := Init(dir, "hq", "founder")
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Close(); err != nil {
		t.Fatal(err)
	}
	if err := id.Accept("name", 1, content.ID{1}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("accepted after Close: %v", err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if seq, _, ok := again.Seen("name"); ok {
		t.Errorf("number %d was kept after Close", seq)
	}
}
