package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func ledgerAt(v *memory) ([]int64, error) {
	var at []int64
	l, err := openLedger(v, func(e entry) { at = append(at, e.At) })
	if err == nil {
		err = l.close()
	}
	return at, err
}

func TestLedger(t *testing.T) {
	t.Parallel()
	v := withLedger(t, newMemDisk())
	if at, err := ledgerAt(v); err != nil || len(at) > 0 {
		t.Fatalf("a new ledger has %v: %v", at, err)
	}
	l, err := openLedger(v, func(entry) {})
	check(t, err)
	ends := []ledgerEnd{l.end}
	for i := range int64(5) {
		check(t, l.append(entry{Deed: issued, At: i + 1, Name: fmt.Sprint(i)}))
		ends = append(ends, l.end)
	}
	if err := l.append(entry{Deed: issued, Reason: strings.Repeat("x", maxRecord)}); err == nil {
		t.Error("a record too large")
	}
	check(t, l.close())
	good, err := v.dir.read(ledgerNames[0])
	check(t, err)
	all := []int64{1, 2, 3, 4, 5}
	if at, err := ledgerAt(v); err != nil || !slices.Equal(at, all) {
		t.Fatalf("%v, %v", at, err)
	}
	// put makes both copies b and the state tell of the first n records.
	put := func(b []byte, n int) {
		for _, name := range ledgerNames {
			check(t, v.dir.write(name, b))
		}
		check(t, v.commit(func(next *state) error { next.Ledger = &ends[n]; return nil }))
	}
	// The last record was written, in part or whole, but never acknowledged: it
	// may be dropped, and the ledger appended to.
	for cut := ends[4].Size; cut <= ends[5].Size; cut++ {
		put(good[:cut], 4)
		want := all[:4]
		if cut == ends[5].Size {
			want = all
		}
		if at, err := ledgerAt(v); err != nil || !slices.Equal(at, want) {
			t.Fatalf("cut at %d: %v, %v", cut, at, err)
		}
		l, err := openLedger(v, func(entry) {})
		check(t, err)
		check(t, l.append(entry{Deed: revoked, At: 9}))
		check(t, l.close())
		if at, err := ledgerAt(v); err != nil || !slices.Equal(at, append(slices.Clone(want), 9)) {
			t.Fatalf("cut at %d and appended to: %v, %v", cut, at, err)
		}
	}
	// What was acknowledged can't be cut, changed or taken out of both copies.
	for cut := range ends[5].Size {
		put(good[:cut], 5)
		if at, err := ledgerAt(v); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v, %v", cut, at, err)
		}
	}
	for i := range len(good) {
		put(flip([][]byte{good}, 0, i)[0], 5)
		if at, err := ledgerAt(v); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit of byte %d flipped: %v, %v", i, at, err)
		}
	}
	put(slices.Concat(good[:ends[1].Size], good[ends[2].Size:]), 5)
	if at, err := ledgerAt(v); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a record taken out: %v, %v", at, err)
	}
	// Nor can it be hurt in one: the other mends it.
	for i, name := range ledgerNames {
		for what := range damages(good) {
			put(good, 5)
			damage(t, v.dir, name, damages(good)[what])
			if at, err := ledgerAt(v); err != nil || !slices.Equal(at, all) {
				t.Fatalf("copy %d %s: %v, %v", i, what, at, err)
			}
			if b, err := v.dir.read(name); err != nil || !slices.Equal(b, good) {
				t.Fatalf("copy %d %s: not mended: %v", i, what, err)
			}
		}
	}
	put(good, 5)
	check(t, v.commit(func(next *state) error { next.Ledger = nil; return nil }))
	if _, err := ledgerAt(v); !errors.Is(err, ErrDamaged) {
		t.Errorf("a state without a ledger: %v", err)
	}
}

// damages are the ways in which a file can be wrong; nil is gone.
func damages(good []byte) map[string][]byte {
	all := map[string][]byte{
		"missing": nil, "empty": {}, "cut short": good[:len(good)-7], "half": good[:len(good)/2],
		"longer": append(slices.Clone(good), make([]byte, 4096)...), "zeros": make([]byte, len(good)),
	}
	for i := range 8 {
		at := len(good) * i / 8
		all[fmt.Sprintf("bit of byte %d flipped", at)] = flip([][]byte{good}, 0, at)[0]
	}
	return all
}

func damage(t testing.TB, d folder, name string, b []byte) {
	t.Helper()
	if b == nil {
		check(t, d.remove(name))
		return
	}
	check(t, d.write(name, b))
}
