//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "raw-") {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPlainStreamIsMeasured(t *testing.T) {
	b := &bench{options: options{size: 16 << 20}, lab: scenario.New("", t.TempDir()), addr: "127.0.0.1"}
	if err := b.rawCopy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range b.table.names {
		if f := b.table.rows[name].figures; len(f) != 1 || f[0] <= 0 {
			t.Errorf("%s: %v, want one figure above 0", name, f)
		}
	}
	if len(b.table.names) != 2 {
		t.Errorf("figures: %q, want rate and CPU", b.table.names)
	}
}

func TestTablePrintsMedians(t *testing.T) {
	var b table
	for _, f := range []float64{9, 1, 4} {
		b.add("get", "MB/s", f)
	}
	for _, f := range []float64{9, 1, 4, 2} {
		b.add("add", "MB/s", f)
	}
	if median, _, _ := b.rows["add"].spread(); median != 3 {
		t.Errorf("the median of four is %v, want 3", median)
	}
	b.names = b.names[:1]
	var out strings.Builder
	b.print(&out)
	if want := "| get  | 4      | 1 to 9        | MB/s | 3    |\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("printed\n%s\nwant at its end\n%s", out.String(), want)
	}
}
