package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/p2pnode/p2pnode/content/store/disk"
)

// journalOf returns a journal with one record of each kind.
func journalOf(node []byte) []byte {
	b := []byte(journalMagic)
	b = appendList(b, 7, node)
	b = appendVerified(b, 7, 0b1011)
	b = appendRecord(b, kindUnsure)
	return appendRecord(b, kindClean)
}

func TestJournalSaysWhatWasWritten(t *testing.T) {
	node := []byte("a node")
	data := journalOf(node)
	var kinds []byte
	end, err := readJournal(bytes.NewReader(data), int64(len(data)), journalMagic, func(r record) error {
		kinds = append(kinds, r.kind)
		if !bytes.Equal(data[r.at:][:len(r.payload)], r.payload) {
			t.Errorf("record %c is not at %d", r.kind, r.at)
		}
		if chunk, got, ok := r.list(8); ok != (r.kind == kindList) || ok && (chunk != 7 || !bytes.Equal(got, node)) {
			t.Errorf("list record: %d, %q, %v", chunk, got, ok)
		}
		if chunk, mask, ok := r.verified(8); ok != (r.kind == kindVerified) || ok && (chunk != 7 || mask != 0b1011) {
			t.Errorf("verified record: %d, %b, %v", chunk, mask, ok)
		}
		if _, _, ok := r.list(7); ok {
			t.Error("a list of a chunk that the content doesn't have")
		}
		return nil
	})
	if err != nil || end != int64(len(data)) || string(kinds) != "LVUC" {
		t.Errorf("read %q up to %d of %d, %v", kinds, end, len(data), err)
	}
}

// Whatever bit is flipped and wherever it is cut, a journal says what stands
// before the damage, and nothing else.
func TestJournalEndsAtDamage(t *testing.T) {
	data := journalOf(bytes.Repeat([]byte("node"), 30))
	read := func(b []byte) (records [][]byte, end int64) {
		end, err := readJournal(bytes.NewReader(b), int64(len(b)), journalMagic, func(r record) error {
			records = append(records, append([]byte{r.kind}, r.payload...))
			return nil
		})
		if err != nil && !errors.Is(err, errJournal) {
			t.Fatal(err)
		}
		return records, end
	}
	whole, _ := read(data)
	check := func(damaged []byte, at int) {
		t.Helper()
		got, end := read(damaged)
		if end > int64(at) {
			t.Fatalf("damage at %d: good up to %d", at, end)
		}
		for i, r := range got {
			if !bytes.Equal(r, whole[i]) {
				t.Fatalf("damage at %d: record %d is another", at, i)
			}
		}
	}
	for at := range data {
		check(data[:at], at)
		for bit := range 8 {
			damaged := bytes.Clone(data)
			damaged[at] ^= 1 << bit
			check(damaged, at)
		}
	}
}

// FuzzJournal reads any bytes as a journal: it takes little memory, and what it
// says reads the same when written again.
func FuzzJournal(f *testing.F) {
	whole := journalOf([]byte("a node"))
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(journalMagic))
	f.Add(append([]byte(journalMagic), 1, 2, 3, 4, 'L', 0xff, 0xff, 0x0f, 0))
	f.Add([]byte("p2pnode\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		again := []byte(journalMagic)
		var before, after runtime.MemStats
		var grown uint64 // by what this test does
		runtime.ReadMemStats(&before)
		end, err := readJournal(bytes.NewReader(data), int64(len(data)), journalMagic, func(r record) error {
			had := uint64(cap(again))
			again = appendRecord(again, r.kind, r.payload)
			grown += uint64(cap(again)) - had + uint64(cap(again))
			return nil
		})
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc-before.TotalAlloc) - int64(grown); took > 4*int64(len(data))+64<<10 {
			t.Errorf("%d bytes allocated for %d", took, len(data))
		}
		if err != nil {
			if !errors.Is(err, errJournal) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(again, data[:end]) {
			t.Errorf("reads %q, writes %q", data[:end], again)
		}
	})
}

// FuzzLists reads any bytes as the blocks file of a content of count chunks.
func FuzzLists(f *testing.F) {
	dir := f.TempDir()
	if err := (&Store{disk: disk.OS{}}).writeAllLists(dir, [][]byte{[]byte("one"), []byte("two")}); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, listsName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, uint16(2))
	f.Add(whole[:20], uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, count uint16) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, listsName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := (&Store{disk: disk.OS{}}).checkLists(dir, int(count))
		r := bytes.NewReader(data)
		var nodes [][]byte
		for chunk := range min(int(count), 4) {
			node, err := readNode(r, chunk)
			if err == nil {
				nodes = append(nodes, node)
			}
		}
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > 4*int64(len(data))+64<<10 {
			t.Errorf("%d bytes allocated for %d", took, len(data))
		}
		if err == nil && len(nodes) == int(count) {
			var b bytes.Buffer
			if err := writeLists(&b, len(nodes), func(i int) int { return len(nodes[i]) }, func(i int) ([]byte, error) { return nodes[i], nil }); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), data) {
				t.Errorf("reads %q, writes %q", data, b.Bytes())
			}
		}
	})
}
