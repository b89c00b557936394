package trust

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/p2pnode/p2pnode/content"
)

// goldenDay is when the golden folders were made.
var goldenDay = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func onGoldenDay() time.Time { return goldenDay }

// makeGolden makes an enterprise and a member of it that have been through
// everything a folder can hold.
func makeGolden(t *testing.T, dest string) {
	id, err := Init(filepath.Join(dest, "issuer"), "hq", "first", WithWall(onGoldenDay))
	check(t, err)
	first := start(t, id, Config{}, true)
	tok, err := first.Invite(InviteOptions{Site: "berlin", Name: "till-7", Bootstrap: first.p2pAddrs(t, "tcp")})
	check(t, err)
	mid, err := Enrol(t.Context(), filepath.Join(dest, "member"), tok, EnrolOptions{}, WithWall(onGoldenDay))
	check(t, err)
	member := start(t, mid, Config{}, true)
	check(t, member.Connect(t.Context(), first.addrs("tcp")))
	lost, err := first.Invite(InviteOptions{Site: "berlin", Name: "lost", Bootstrap: []string{anyAddress}})
	check(t, err)
	_, err = id.authority.claim(lost.ID[:], lost.Secret[:], "", newKey(t).GetPublic(), goldenDay)
	check(t, err)
	open, err := first.Invite(InviteOptions{Site: "bonn", Uses: 3, Expires: 14 * 24 * time.Hour, Bootstrap: []string{anyAddress}})
	check(t, err)
	gone, err := first.Invite(InviteOptions{Site: "bonn", Bootstrap: []string{anyAddress}})
	check(t, err)
	check(t, first.Withdraw(gone))
	_, err = first.Admission.Revoke("lost", "stolen from a van")
	check(t, err)
	for _, i := range []*Identity{id, mid} {
		check(t, i.Accept("app", 5, content.ID{5}))
		check(t, i.Accept("image", 1<<40, content.ID{0xff}))
	}
	within(t, patience, "the member has all", func() bool {
		b, _ := mid.Beacon()
		h := mid.revoked.heads()
		return len(b) > 0 && len(h) == 2 && h[0].Number == 2 && h[1].Number == 2
	})
	check(t, os.WriteFile(filepath.Join(dest, "tokens.txt"), []byte("open "+open.String()+"\nused "+tok.String()+"\n"), 0o644))
}

// G56: folders of each format open, with everything in them, and work on. The
// first format is what a node had before its memory was kept twice.
//
// GOLDEN=FOLDER makes a folder of the present format there; it is checked in
// once, when a format is new.
func TestGoldenFolders(t *testing.T) {
	t.Parallel()
	if dest := os.Getenv("GOLDEN"); dest != "" {
		makeGolden(t, dest)
	}
	for _, format := range []string{"golden-v1", "golden-v2"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			check(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", format))))
			text, err := os.ReadFile(filepath.Join(dir, "tokens.txt"))
			check(t, err)
			token := map[string]Token{}
			for line := range strings.Lines(string(text)) {
				name, tok, _ := strings.Cut(line, " ")
				token[name], err = ParseToken(tok)
				check(t, err)
			}
			var newest []head
			for _, who := range []string{"issuer", "member", "issuer", "member"} { // the second time as this format
				core, logs := observer.New(zap.WarnLevel)
				id, err := Load(filepath.Join(dir, who), WithWall(onGoldenDay), WithLog(zap.New(core)))
				check(t, err)
				if logs.Len() > 0 {
					t.Errorf("%s: %v", who, logs.All())
				}
				checkGolden(t, id, who)
				if who == "issuer" {
					checkGoldenIssuer(t, id, token)
					newest = id.revoked.heads()
				} else if !slices.Equal(id.revoked.heads(), newest) {
					t.Errorf("%s has %v, want %v", who, id.revoked.heads(), newest)
				}
				check(t, id.Close())
				want := []string{"credential.pem", "host.key", "lock", "root.pem", "state.a", "state.b"}
				if who == "issuer" {
					want = []string{"credential.pem", "host.key", "issuer", "lock", "root.pem", "state.a", "state.b"}
				}
				if names, err := (osDisk{}).list(filepath.Join(dir, who, folderName)); err != nil || !slices.Equal(names, want) {
					t.Errorf("%s: files are %v, %v", who, names, err)
				}
			}
			// And works on.
			id, err := Load(filepath.Join(dir, "issuer"), WithWall(onGoldenDay))
			check(t, err)
			check(t, id.Accept("app", 6, content.ID{6}))
			if err := id.Accept("app", 5, content.ID{5}); !errors.Is(err, ErrRollback) {
				t.Errorf("an older release: %v", err)
			}
			_, err = id.Revoke("till-7", "")
			check(t, err)
			check(t, id.Close())
		})
	}
}

func checkGolden(t *testing.T, id *Identity, who string) {
	t.Helper()
	c := id.Credential()
	wantName, wantSite, wantRoles := "first", "hq", allRoles
	if who == "member" {
		wantName, wantSite, wantRoles = "till-7", "berlin", Member
	}
	if c.Name != wantName || c.Site != wantSite || c.Roles != wantRoles || !c.NotAfter.Equal(goldenDay.Add(leafLife)) {
		t.Errorf("%s is %+v", who, c)
	}
	if seq, of, ok := id.Seen("app"); seq != 5 || of != (content.ID{5}) || !ok {
		t.Errorf("%s: app is at %d", who, seq)
	}
	if seq, of, ok := id.Seen("image"); seq != 1<<40 || of != (content.ID{0xff}) || !ok {
		t.Errorf("%s: image is at %d", who, seq)
	}
	if _, at := id.Beacon(); at.Sub(goldenDay).Abs() > time.Minute || id.Freshness().Missing != 0 {
		t.Errorf("%s: beacon of %s, %+v", who, at, id.Freshness())
	}
	if floor := time.Unix(id.memory.get().Floor, 0); floor.Sub(goldenDay).Abs() > time.Minute {
		t.Errorf("%s: floor is %s", who, floor)
	}
	if who == "member" && (len(id.Bootstrap()) != 1 || id.Issuing()) {
		t.Errorf("member: bootstrap %v, issuing %t", id.Bootstrap(), id.Issuing())
	}
	for _, h := range id.revoked.heads() {
		if h.Number != 2 {
			t.Errorf("%s: list %d", who, h.Number)
		}
	}
}

func checkGoldenIssuer(t *testing.T, id *Identity, token map[string]Token) {
	t.Helper()
	members, err := id.Members()
	check(t, err)
	var got []string
	for _, m := range members {
		s := m.Site + "/" + m.Name
		if m.Revoked != nil {
			s += " revoked: " + m.Reason
		}
		got = append(got, s)
	}
	if want := []string{"berlin/lost revoked: stolen from a van", "berlin/till-7", "hq/first"}; !slices.Equal(got, want) {
		t.Errorf("members are %q", got)
	}
	open, used := token["open"], token["used"]
	if in := id.authority.invites[open.ID]; in == nil || in.uses != 3 || len(in.by) != 0 || in.site != "bonn" {
		t.Errorf("open invite is %+v", in)
	}
	refused(t, id, used, newKey(t).GetPublic(), goldenDay, ErrTokenUsed)
}

// A folder that a newer program wrote is refused, and stays as it is.
func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	for _, newer := range [][]string{{slotNames[0], slotNames[1]}, {slotNames[0]}, {slotNames[1]}} {
		dir := t.TempDir()
		check(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "golden-v2", "issuer"))))
		trust := filepath.Join(dir, folderName)
		for _, name := range newer {
			check(t, os.WriteFile(filepath.Join(trust, name), seal(sealVersion+1, stateName, []byte("what is not known yet")), 0o600))
		}
		check(t, os.WriteFile(filepath.Join(trust, "something.else"), []byte("?"), 0o600))
		check(t, os.WriteFile(filepath.Join(trust, "lock"), nil, 0o600))
		check(t, folder{osDisk{}, trust}.open()) // modes: git doesn't keep them
		before := snapshot(t, dir)
		for range 2 {
			if _, err := Load(dir); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
				t.Fatalf("newer %v: %v", newer, err)
			}
		}
		if _, err := Init(dir, "hq", "x"); !errors.Is(err, ErrHasIdentity) {
			t.Errorf("made over it: %v", err)
		}
		if after := snapshot(t, dir); !maps.Equal(before, after) {
			t.Errorf("newer %v: changed from %v to %v", newer, before, after)
		}
	}
}

// snapshot has the content, mode and time of every file below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	check(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		s := fi.Mode().String()
		if !e.IsDir() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += " " + fi.ModTime().String() + " " + string(b)
		} else if runtime.GOOS != "windows" {
			s += " " + fi.ModTime().String()
		}
		files[p] = s
		return nil
	}))
	return files
}

// Damage to a folder of the first format is not taken over, and taking over may
// be cut short anywhere.
func TestFormat1IsTakenOverOnceAndWhole(t *testing.T) {
	t.Parallel()
	whole := newMemDisk()
	check(t, whole.mkdir("/data/trust/issuer"))
	check(t, whole.mkdir("/data/trust/revoked"))
	src := os.DirFS(filepath.Join("testdata", "golden-v1", "issuer"))
	check(t, fs.WalkDir(src, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(src, p)
		if err != nil {
			return err
		}
		return folder{whole, "/data"}.write(p, b)
	}))
	whole = whole.clone()
	states := 0
	d := whole.clone()
	d.before = func(op, path string) error {
		if len(d.pending) == 0 {
			return nil
		}
		states += d.cuts(2, func(image *memDisk) {
			id, err := Load("/data", on(image), WithWall(onGoldenDay))
			if err != nil {
				t.Fatalf("cut before %s %s: %v", op, path, err)
			}
			checkGolden(t, id, "issuer")
			check(t, id.Close())
			for name := range filesIn(t, image, trustDir) {
				if name == stateFile1 || name == ledgerFile1 {
					t.Errorf("cut before %s %s: %s is still there", op, path, name)
				}
			}
		})
		return nil
	}
	id, err := Load("/data", on(d), WithWall(onGoldenDay))
	check(t, err)
	check(t, id.Close())
	t.Logf("%d states", states)

	for name, good := range filesIn(t, whole, trustDir) {
		if strings.HasPrefix(name, issuerDir+"/root.") {
			continue
		}
		for what, bad := range map[string][]byte{"missing": nil, "half": good[:len(good)/2], "bit flipped": flip([][]byte{good}, 0, len(good)/2)[0]} {
			d := whole.clone()
			damage(t, folder{d, trustDir}, name, bad)
			before := filesIn(t, d, trustDir)
			if _, err := Load("/data", on(d)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if !maps.EqualFunc(before, filesIn(t, d, trustDir), slices.Equal[[]byte]) {
				t.Errorf("%s %s: something was changed", name, what)
			}
		}
	}
}
