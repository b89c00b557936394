package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// What was added in place is served as from the store, until it changes; then it is
// not, whoever asks, and says so; added again it is right again. The files are
// never touched.
func TestAddReference(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	branch := hq.join("branch", "a")
	branch.meet(1)
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	writeTree(t, tree, map[string][]byte{"app/bin": publishRandom(1, 3<<20), "app/readme": []byte("hello"), "empty": nil})
	big := filepath.Join(tree, "app", "bin")

	added := hq.add(api.AddRequest{Paths: []string{tree}, Name: "app", Reference: true})
	if !added.InPlace || added.New != added.Size || added.Files != 3 {
		t.Errorf("added %+v", added)
	}
	if st, err := hq.node.API().Status(t.Context()); err != nil || st.Store.Used != 0 || len(st.Warnings) > 0 {
		t.Errorf("%d bytes used, warned of %v (%v)", st.Store.Used, st.Warnings, err)
	}
	hq.stop()
	hq.run() // and after a restart it is served
	branch.meet(1)
	branch.get("app", filepath.Join(dir, "out"))
	sameTree(t, tree, filepath.Join(dir, "out"))
	hq.get("app", filepath.Join(dir, "own"))
	sameTree(t, tree, filepath.Join(dir, "own"))

	// The branch has it still; a third that asks gets nothing wrong from hq.
	f, err := os.OpenFile(big, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("EDITED"), 2<<20)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	edited, err := os.ReadFile(big)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := hq.node.API().Verify(t.Context(), "app", nil)
	if err != nil || verified.Complete || verified.Bad < 3<<20 {
		t.Errorf("verified %+v (%v)", verified, err)
	}
	d, err := hq.node.API().Content(t.Context(), "app")
	if err != nil || !d.InPlace || d.Complete || len(d.Changed) != 1 || !strings.Contains(d.Changed[0], big) {
		t.Errorf("shown: %+v (%v)", d, err)
	}
	st, err := hq.node.API().Status(t.Context())
	if err != nil || len(st.Warnings) != 1 || st.Warnings[0].Code != "changed-in-place" {
		t.Fatalf("warned of %v (%v)", st.Warnings, err)
	}
	checks, err := hq.node.API().Doctor(t.Context())
	i := slices.IndexFunc(checks, func(c api.Check) bool { return c.Name == "content" })
	if err != nil || i < 0 || checks[i].State != api.Warn || checks[i].Next != st.Warnings[0].Next {
		t.Errorf("checked: %v (%v)", checks, err)
	}

	// hq can get it back, to a file of its own; then it is not what is in place.
	res := hq.get("app", filepath.Join(dir, "back"))
	if res.From.LAN+res.From.WAN < 3<<20 {
		t.Errorf("fetched %+v", res.From)
	}
	sameTree(t, filepath.Join(dir, "own"), filepath.Join(dir, "back"))
	if now, err := os.ReadFile(big); err != nil || string(now) != string(edited) {
		t.Errorf("a get wrote to the user's file (%v)", err)
	}

	next := hq.add(api.AddRequest{Paths: []string{tree}, Name: "app", Reference: true})
	if !next.InPlace || next.Content == added.Content || next.New >= next.Size {
		t.Errorf("added again: %+v", next)
	}
	if removed, err := hq.node.API().Remove(t.Context(), next.Content); err != nil || removed.Freed != 0 {
		t.Errorf("removed %+v (%v)", removed, err)
	}
	if now, err := os.ReadFile(big); err != nil || string(now) != string(edited) {
		t.Errorf("removing the content took the user's file (%v)", err)
	}
	_, err = hq.node.API().Add(t.Context(), api.AddRequest{Paths: []string{tree}, Reference: true, Unpack: true}, nil)
	if !errors.Is(err, &api.Error{Code: api.Usage}) {
		t.Errorf("unpacked in place: %v", err)
	}
}

// A file that changes while it is added in place is not published.
func TestAddReferenceNoticesChanges(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, publishRandom(1, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := false
	_, err := hq.node.API().Add(t.Context(), api.AddRequest{Paths: []string{path}, Reference: true}, func(p api.Progress) {
		if p.Phase == publishVerifies && !changed {
			changed = true
			if err := os.Truncate(path, 2<<20); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, content.ErrChanged) || len(hq.node.store.List()) > 0 {
		t.Errorf("%v, want ErrChanged; %d contents", err, len(hq.node.store.List()))
	}
}

// What is bad because the user wrote to a file isn't told as the disk's doing.
func TestVerifyTellsOfChangedReferences(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq"})
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, publishRandom(1, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	added, err := hq.node.API().Add(t.Context(), api.AddRequest{Paths: []string{path}, Reference: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 1} {
		r, err := hq.node.API().Verify(t.Context(), added.Content, nil)
		if err != nil || r.Changed != want || (r.BadCount > 0) != (want > 0) {
			t.Errorf("%+v, %v; want %d changed", r, err, want)
		}
		if err := os.Truncate(path, 2<<20); err != nil {
			t.Fatal(err)
		}
	}
}
