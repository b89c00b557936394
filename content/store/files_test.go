package store

import (
	"testing"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Verify is about what is under the name of a file, and what is fetched next goes
// there, even while somebody reads what was there before.
func TestFileThatIsGoneIsMadeAnewWhileItIsRead(t *testing.T) {
	model, s, c := pinning(t)
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	name := c.dir + "/files/" + sample.Manifest.Files[0].Path
	reader, err := c.pin(0, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Remove(name); err != nil {
		t.Fatal(err)
	}
	if bad, err := c.Verify(t.Context(), nil); err != nil || len(bad) != len(sample.Nodes) {
		t.Fatalf("%d chunks of a file that is gone are bad, %v", len(bad), err)
	}
	writer, err := c.pin(0, true)
	if err != nil {
		t.Fatal(err)
	}
	s.files.reopen(c) // the next look begins before it was written to
	put(t, c, sample, sample.Refs()...)
	s.files.wrote(writer)
	s.files.unpin(writer)
	s.files.unpin(reader)
	if err := c.Flush(t.Context()); err != nil || !c.Complete() {
		t.Errorf("flush: %v, complete %v", err, c.Complete())
	}
	if files, err := model.Files(name); err != nil || string(files[""]) != string(sample.Data) {
		t.Errorf("the file has %d bytes, not those fetched: %v", len(files[""]), err)
	}
	if dirt := s.files.dirt; dirt != 0 || len(s.files.dirty) > 0 || len(s.files.open) != s.files.idle.Len() {
		t.Errorf("%d files to be synced, %d of contents, %d open and %d idle", dirt, len(s.files.dirty), len(s.files.open), s.files.idle.Len())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
