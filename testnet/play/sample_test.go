package play

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A changed sample has the size of the other, and all but what was changed of it: that
// is found where it was, or further on by what was put in.
func TestSampleChangesSoMuchOfIt(t *testing.T) {
	const size = 2 << 20
	for _, changed := range []float64{0.5, 5, 50} {
		one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
		if err := Sample(one, File{Size: size, Seed: 7}); err != nil {
			t.Fatal(err)
		}
		if err := Sample(two, File{Size: size, Seed: 7, Changed: changed}); err != nil {
			t.Fatal(err)
		}
		a, b := read(t, one), read(t, two)
		if len(a) != size || len(b) != size {
			t.Fatalf("%g %%: %d and %d bytes, want %d", changed, len(a), len(b), size)
		}
		const piece = 512
		var gone int
		part := int(float64(size) * changed / 100 / (overwrites + 1))
		for i := 0; i+piece <= size; i += piece {
			here := bytes.Equal(a[i:i+piece], b[i:i+piece])
			further := i+part+piece <= size && bytes.Equal(a[i:i+piece], b[i+part:i+part+piece])
			if !here && !further {
				gone += piece
			}
		}
		if got := 100 * float64(gone) / size; got < changed*0.7 || got > changed*1.1+0.2 {
			t.Errorf("%g %% changed: %.2f %% is gone", changed, got)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The same seed gives the same bytes; another gives none of them.
func TestSampleIsThatOfItsSeed(t *testing.T) {
	dir := t.TempDir()
	for name, f := range map[string]File{"a": {Size: 10000, Seed: 1, Changed: 5}, "b": {Size: 10000, Seed: 1, Changed: 5}, "c": {Size: 10000, Seed: 2, Changed: 5}} {
		if err := Sample(filepath.Join(dir, name), f); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := read(t, filepath.Join(dir, "a")), read(t, filepath.Join(dir, "b")), read(t, filepath.Join(dir, "c"))
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("samples of one seed differ, or those of two don't")
	}
}
