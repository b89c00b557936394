package flow

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A reader that skips about in a content of 20 s gets each place within what the
// source's queue takes, and everything comes all the same.
func TestPreferredChunksComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 400)
		var total int64
		for _, c := range o.manifest.Chunks {
			total += int64(c.Size)
		}
		m := newTarget(o)
		a := newMemSource(o, "a", float64(total)/20)
		defer a.leave()
		f := newFlow(m)
		f.Add(a)
		f.Prefer(399) // before Run too
		_, done := start(t, f)
		for _, chunk := range []int{399, 200, 7, 350, 100} {
			began := time.Now()
			f.Prefer(chunk, chunk-1)
			for !m.Have().Contains(uint32(chunk)) {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("chunk %d took %v", chunk, took)
			}
		}
		if err := wait(t, done, time.Minute); err != nil {
			t.Fatal(err)
		}
		f.Prefer(1) // and after it: nothing
		checkWhole(t, m, a)
	})
}

func TestPreferringOftenCostsOneEvent(t *testing.T) {
	b := newInbox()
	for i := range 100_000 {
		b.prefer([]int{i, i + 1})
	}
	events, _ := b.take(nil)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	got := events[0].event.(prefer).Chunks
	if len(got) != maxFirst || !slices.Equal(got[:3], []int{99_999, 100_000, 99_998}) {
		t.Errorf("%d chunks, first %v", len(got), got[:3])
	}
}
