package content

import (
	"io/fs"
	"slices"
	"testing"
)

func TestLayout(t *testing.T) {
	dir := func(p string) File { return File{Path: p, Mode: fs.ModeDir} }
	file := func(p string, size int64) File { return File{Path: p, Size: size} }
	l := NewLayout(&Manifest{
		Files:  []File{dir("."), file("0", 0), file("a", 100), dir("b"), file("b/0", 0), file("b/1", 1), file("c", 50), file("d", 0)},
		Chunks: []Chunk{{Size: 90}, {Size: 11}, {Size: 50}},
	})
	if got := []int64{l.Chunk(0), l.Chunk(1), l.Chunk(2)}; !slices.Equal(got, []int64{0, 90, 101}) {
		t.Errorf("chunks begin at %v", got)
	}
	for _, c := range []struct {
		offset, size int64
		want         []Span
	}{
		{0, 0, nil},
		{0, 1, []Span{{2, 0, 1}}},
		{0, 100, []Span{{2, 0, 100}}},
		{99, 3, []Span{{2, 99, 1}, {5, 0, 1}, {6, 0, 1}}},
		{90, 11, []Span{{2, 90, 10}, {5, 0, 1}}},
		{100, 1, []Span{{5, 0, 1}}},
		{101, 50, []Span{{6, 0, 50}}},
		{101, 60, []Span{{6, 0, 50}}},
		{0, 151, []Span{{2, 0, 100}, {5, 0, 1}, {6, 0, 50}}},
		{150, 1, []Span{{6, 49, 1}}},
		{151, 1, nil},
		{1 << 50, 1, nil},
		{-1, 1, nil},
		{5, -1, nil},
	} {
		got := slices.Collect(l.Spans(c.offset, c.size))
		if !slices.Equal(got, c.want) {
			t.Errorf("%d bytes at %d: %v, want %v", c.size, c.offset, got, c.want)
		}
	}
	for range l.Spans(0, 151) {
		break // may stop
	}
	if n := testing.AllocsPerRun(100, func() {
		for range l.Spans(99, 3) {
		}
	}); n != 0 {
		t.Errorf("Spans allocates %v times", n)
	}
}

func TestLayoutOfNothing(t *testing.T) {
	l := NewLayout(&Manifest{Files: []File{{Path: "a"}}})
	if got := slices.Collect(l.Spans(0, 1)); got != nil {
		t.Errorf("an empty file has %v", got)
	}
}
