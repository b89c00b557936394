package flow

import (
	"context"
	"errors"
	"fmt"
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
		f.Prefer(1, 399) // before Run too
		_, done := start(t, f)
		for _, chunk := range []int{399, 200, 7, 350, 100} {
			began := time.Now()
			f.Prefer(1, chunk, chunk-1)
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
		f.Prefer(1, 1) // and after it: nothing
		checkWhole(t, m, a)
	})
}

func TestPreferringOftenCostsOneEvent(t *testing.T) {
	b := newInbox()
	for i := range 100_000 {
		b.prefer(uint64(i%2), []int{i, i + 1})
	}
	events, _ := b.take(nil)
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	for i, ev := range events {
		if got := ev.event.(prefer); got.Reader != uint64(i) || !slices.Equal(got.Chunks, []int{99_998 + i, 99_999 + i}) {
			t.Errorf("the last of a reader is %v", got)
		}
	}
}

// Readers get what they wait for in turn: one that reads as fast as it comes doesn't
// keep the others waiting, each of which waits for a chunk at a time.
func TestReadersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 400)
		var total int64
		for _, c := range o.manifest.Chunks {
			total += int64(c.Size)
		}
		m := newTarget(o)
		a := newMemSource(o, "a", float64(total)/100) // 4 chunks a second
		defer a.leave()
		f := newFlow(m)
		f.Add(a)
		_, done := start(t, f)
		read := [4]int{} // chunks
		for range 1000 {
			for i := range read {
				for m.Have().Contains(uint32(100*i + read[i])) {
					read[i]++
				}
				next := 100*i + read[i]
				f.Prefer(uint64(i), next, next+1, next+2, next+3, next+4)
			}
			time.Sleep(10 * time.Millisecond)
		}
		for i, n := range read {
			if n < 6 || n > 14 {
				t.Errorf("reader %d got %d chunks of 40 in 10 s", i, n)
			}
		}
		if err := wait(t, done, 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, m, a)
	})
}

// A flow for readers fetches what they prefer and nothing else, and what they prefer
// later too.
func TestOnlyWhatReadersPrefer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOriginal(t, 40)
		m := newTarget(o)
		a := newMemSource(o, "a", 100<<20)
		defer a.leave()
		f := newFlow(m, func(c *Config) { c.Readers = true })
		f.Add(a)
		stop, _ := start(t, f)
		for _, want := range [][]int{{}, {3}, {3, 7, 8}} {
			f.Prefer(1, want...)
			time.Sleep(10 * time.Second)
			if got := m.Have().ToArray(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("chunks %v came, of %v", got, want)
			}
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
