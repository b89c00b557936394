package store

import (
	"bytes"
	"os"
	"testing"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// What is to be moved is no link if another copy is one: they are two users' files,
// or two of one.
func TestLinkedFileIsMovedAsItsOwn(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	s := openAt(t, storetest.TempDir(t))
	defer s.Close()
	c, first := linked(t, s, sample, ExportOptions{Link: MustLink})
	second := first + "-too"
	if err := c.Export(t.Context(), second, ExportOptions{Link: MayLink}); err != nil {
		t.Fatal(err)
	}
	a, err1 := os.Stat(first)
	b, err2 := os.Stat(second)
	if err1 != nil || err2 != nil || os.SameFile(a, b) {
		t.Errorf("both are one file: %v, %v", err1, err2)
	}
	if got, err := os.ReadFile(second); err != nil || !bytes.Equal(got, sample.Data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
