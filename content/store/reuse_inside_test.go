package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A block that can't be taken, since the list of who wants it went bad on the disk,
// is no damage of who has it.
func TestReuseBlamesWhoIsDamaged(t *testing.T) {
	v1, v2 := storetest.File(t, 1, 60_000, storetest.Small), storetest.File(t, 2, 60_000, storetest.Small)
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	from := begin(t, s, v1)
	put(t, from, v1, v1.Refs()...)
	to := begin(t, s, v2)
	f, err := os.OpenFile(filepath.Join(to.dir, journalName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("rotten"), to.partial.lists[0].at+10); err != nil {
		t.Fatal(err)
	}
	s.lists.drop(to)

	r := &reuse{to: to, damaged: make(map[*Content]struct{})}
	w := wantedBlock{Block: v1.Blocks[0][0], at: blockPlace{content: from}}
	if err := r.takeOne(w, make([]byte, w.Size)); err != nil {
		t.Fatal(err)
	}
	if len(r.damaged) > 0 || !from.has(0, 0) {
		t.Error("who gave it is blamed")
	}
}
