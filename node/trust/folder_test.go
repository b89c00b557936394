package trust

import (
	"errors"
	"fmt"
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

func filesOf(t *testing.T, d folder) []string {
	t.Helper()
	var names []string
	check(t, filepath.WalkDir(d.path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" {
			rel, _ := filepath.Rel(d.path, p)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	return names
}

func TestFolderIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("not on windows: modes are not its way")
	}
	dir := t.TempDir()
	id, err := Init(dir, "hq", "first")
	check(t, err)
	check(t, id.Close())
	loosen := func() {
		check(t, filepath.WalkDir(id.dir.path, func(p string, e fs.DirEntry, _ error) error {
			return os.Chmod(p, map[bool]fs.FileMode{true: 0o755, false: 0o644}[e.IsDir()])
		}))
	}
	private := func() {
		t.Helper()
		check(t, filepath.WalkDir(id.dir.path, func(p string, e fs.DirEntry, _ error) error {
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
	key := id.dir.join("host.key")
	check(t, os.Rename(key, filepath.Join(dir, "elsewhere")))
	check(t, os.Symlink(filepath.Join(dir, "elsewhere"), key))
	if _, err := Load(dir); err == nil {
		t.Error("opened with a link for a key")
	}
	linked := t.TempDir()
	check(t, os.Symlink(id.dir.path, filepath.Join(linked, folderName)))
	if _, err := Load(linked); err == nil {
		t.Error("opened through a link")
	}
	if _, err := Init(linked, "hq", "x"); !errors.Is(err, ErrHasIdentity) {
		t.Errorf("made behind a link: %v", err)
	}
}

// G34: state that is lost or damaged stops the node; it never starts with less
// than it knew.
func TestDamageFailsClosed(t *testing.T) {
	dir := t.TempDir()
	id, err := Init(dir, "hq", "first")
	check(t, err)
	check(t, id.Accept("app", 3, content.ID{1}))
	names := filesOf(t, id.dir)
	check(t, id.Close())
	if len(names) < 13 {
		t.Fatalf("files are %v", names)
	}
	for _, name := range names {
		if name == issuerDir+"/root.key" || name == issuerDir+"/root.pem" {
			continue // not read: the root's key is for making issuers and may be taken offline
		}
		path := id.dir.join(name)
		good, err := os.ReadFile(path)
		check(t, err)
		for what, bad := range map[string][]byte{
			"missing": nil, "empty": {}, "cut short": good[:len(good)-7], "half": good[:len(good)/2],
			"bit flipped": flip([][]byte{good}, 0, len(good)/2)[0], "zeros": make([]byte, len(good)),
		} {
			if what == "missing" {
				check(t, os.Remove(path))
			} else {
				check(t, os.WriteFile(path, bad, 0o600))
			}
			got, err := Load(dir)
			if err == nil {
				check(t, got.Close())
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
		check(t, os.WriteFile(path, good, 0o600))
	}
	id, err = Load(dir)
	check(t, err)
	check(t, id.Close())

	// A sealed file in another's place.
	a, b := id.dir.join(stateFile), id.dir.join(releasesFile)
	state, err := os.ReadFile(a)
	check(t, err)
	check(t, os.WriteFile(b, state, 0o600))
	if _, err := Load(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("one sealed file for another: %v", err)
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

func TestLedger(t *testing.T) {
	dir := folder{t.TempDir()}
	path := dir.join(ledgerFile)
	read := func() ([]int64, error) {
		var at []int64
		l, err := openLedger(dir, func(e entry) { at = append(at, e.At) })
		if err == nil {
			err = l.close()
		}
		return at, err
	}
	check(t, newLedger(dir))
	l, err := openLedger(dir, func(entry) { t.Error("a new ledger has entries") })
	check(t, err)
	var atFour []byte
	var ends []int64
	for i := range int64(5) {
		check(t, l.append(entry{Deed: issued, At: i + 1, Name: fmt.Sprint(i)}))
		fi, err := os.Stat(path)
		check(t, err)
		ends = append(ends, fi.Size())
		if i == 3 {
			atFour, err = dir.read(ledgerEndFile)
			check(t, err)
		}
	}
	atFive, err := dir.read(ledgerEndFile)
	check(t, err)
	if err := l.append(entry{Deed: issued, Reason: strings.Repeat("x", maxRecord)}); err == nil {
		t.Error("a record too large")
	}
	check(t, l.close())
	good, err := os.ReadFile(path)
	check(t, err)
	all := []int64{1, 2, 3, 4, 5}
	if at, err := read(); err != nil || !slices.Equal(at, all) {
		t.Fatalf("%v, %v", at, err)
	}
	// The last record was written, in part or whole, but never acknowledged: it
	// may be dropped, and the ledger appended to.
	for cut := ends[3]; cut <= ends[4]; cut++ {
		check(t, os.WriteFile(path, good[:cut], 0o600))
		check(t, dir.write(ledgerEndFile, atFour))
		want := all[:4]
		if cut == ends[4] {
			want = all
		}
		if at, err := read(); err != nil || !slices.Equal(at, want) {
			t.Fatalf("cut at %d: %v, %v", cut, at, err)
		}
		l, err := openLedger(dir, func(entry) {})
		check(t, err)
		check(t, l.append(entry{Deed: revoked, At: 9}))
		check(t, l.close())
		if at, err := read(); err != nil || !slices.Equal(at, append(slices.Clone(want), 9)) {
			t.Fatalf("cut at %d and appended to: %v, %v", cut, at, err)
		}
	}
	// What was acknowledged can't be cut, changed or taken out.
	check(t, dir.write(ledgerEndFile, atFive))
	for cut := range ends[4] {
		check(t, os.WriteFile(path, good[:cut], 0o600))
		if at, err := read(); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v, %v", cut, at, err)
		}
	}
	for i := range len(good) {
		check(t, os.WriteFile(path, flip([][]byte{good}, 0, i)[0], 0o600))
		if at, err := read(); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit of byte %d flipped: %v, %v", i, at, err)
		}
	}
	check(t, os.WriteFile(path, slices.Concat(good[:ends[0]], good[ends[1]:]), 0o600))
	if at, err := read(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a record taken out: %v, %v", at, err)
	}
}

// What an issuer did is there after a restart.
func TestIssuerRemembers(t *testing.T) {
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
	raw, err := os.ReadFile(id.dir.join(issuerDir + "/" + ledgerFile))
	check(t, err)
	if strings.Contains(string(raw), string(tok.Secret[:])) {
		t.Error("the secret is in the ledger")
	}
}

// R12: releases of a name never go back, across restarts.
func TestReleasesNeverGoBack(t *testing.T) {
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
	check(t, os.RemoveAll(id.dir.path))
	if err := id.Accept("app", 7, a); err == nil {
		t.Error("accepted without a disk")
	}
	if seq, _, _ := id.Seen("app"); seq != 6 {
		t.Errorf("app is at %d", seq)
	}
}
