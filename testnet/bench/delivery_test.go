//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// A download asks for the rest after an answer that broke off, after one that came
// to a halt, and in a process that finds the begin of a file.
func TestDownloadGoesOn(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "file"), filepath.Join(dir, "out")
	const size = 1 << 20
	if err := scenario.Sample(path, size, 1); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine may have more requests made, but not others: what is asked for
	// decides what comes.
	var mu sync.Mutex
	var asked []int
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil {
			t.Errorf("asked for %q", r.Header.Get("Range"))
		}
		mu.Lock()
		asked = append(asked, from)
		mu.Unlock()
		part := func(to int) {
			w.Header().Set("Content-Length", fmt.Sprint(size-from))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(text[from:to])
		}
		switch {
		case from < 3000:
			part(3000) // and breaks off
		case from < 6000:
			part(6000)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // comes to a halt
		default:
			http.ServeFile(w, r, path)
		}
	}))
	defer s.Close()
	if err := os.WriteFile(out, text[:1000], 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	d := download{url: s.URL, out: out, size: size, digest: hex.EncodeToString(sum[:]), stall: 200 * time.Millisecond, pause: time.Millisecond}
	if err := d.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes that differ (%v)", len(got), err)
	}
	mu.Lock()
	defer mu.Unlock()
	halted := slices.ContainsFunc(asked, func(n int) bool { return n >= 3000 && n < 6000 })
	if asked[0] != 1000 || !slices.IsSorted(asked) || !halted || asked[len(asked)-1] < 6000 {
		t.Errorf("asked for what is behind %d", asked)
	}
	d = download{url: s.URL, out: out, size: size, digest: strings.Repeat("0", 64)}
	if err := d.run(t.Context()); err == nil {
		t.Error("a wrong checksum is no error")
	}
}

// What asking again doesn't mend ends a download.
func TestDownloadGivesUpWhereThereIsNothing(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	d := download{url: s.URL, out: filepath.Join(t.TempDir(), "out"), size: 1, stall: time.Minute, pause: time.Millisecond}
	if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v, want the server's answer", err)
	}
}

func TestFiguresOfADelivery(t *testing.T) {
	d := delivery{
		size: 100 * mib, took: []time.Duration{20 * time.Second, 10 * time.Second},
		in: []int64{210 * mib, 105 * mib}, out: []int64{mib, 2 * mib}, uplink: 315 * mib,
		usage: usage{cpu: 400 * time.Millisecond, peak: 50 * mib, goroutines: 90, connections: 7}, disk: 402 * mib,
		fetched: []fetched{{site: 20 * mib, others: 100 * mib, othersWasted: 4 * mib}, {site: 30 * mib, others: 50 * mib, siteWasted: 2 * mib}},
		payload: []int64{104 * mib, 50 * mib},
	}
	ours, http := &named{name: "p2pnode"}, &named{name: "plain HTTP"}
	d.rows(&ours.table, 8*time.Second)
	d.fetched, d.usage.goroutines = nil, 0
	d.took[1] = 30 * time.Second
	d.rows(&http.table, 8*time.Second)
	d.took[1] = 32 * time.Second
	d.rows(&http.table, 8*time.Second)
	var out strings.Builder
	compare(&out, []*named{ours, http})
	want := strings.TrimPrefix(`
| what | p2pnode | least to most | plain HTTP | least to most | unit |
|--- |--- |--- |--- |--- |--- |
| time to all | 20 | 20 to 20 | 31 | 30 to 32 | s |
| time to all over the wire's best | 2.5 | 2.5 to 2.5 | 3.875 | 3.75 to 4 | |
| time to the first | 10 | 10 to 10 | 20 | 20 to 20 | s |
| time to the first over the wire's best | 1.25 | 1.25 to 1.25 | 2.5 | 2.5 to 2.5 | |
| WAN bytes to a site | 2.1 | 2.1 to 2.1 | 2.1 | 2.1 to 2.1 | copies |
| WAN bytes from a site | 0.02 | 0.02 to 0.02 | 0.02 | 0.02 to 0.02 | copies |
| bytes out of the publisher's site | 3.15 | 3.15 to 3.15 | 3.15 | 3.15 to 3.15 | copies |
| WAN payload to a site | 1.04 | 1.04 to 1.04 | – | | copies |
| of this for nothing, mean of sites | 0.02 | 0.02 to 0.02 | – | | copies |
| fetched from members of the same site | 25 | 25 to 25 | – | | % |
| fetched for nothing from these, by a member | 0.01 | 0.01 to 0.01 | – | | copies |
| CPU of all processes, by what was delivered | 2.048 | 2.048 to 2.048 | 2.048 | 2.048 to 2.048 | s/GiB |
| peak RSS, of the largest process | 50 | 50 to 50 | 50 | 50 to 50 | MiB |
| goroutines of a node, most | 90 | 90 to 90 | – | | |
| connections of a node, most | 7 | 7 to 7 | – | | |
| disk of a member | 2.01 | 2.01 to 2.01 | 2.01 | 2.01 to 2.01 | copies |
`, "\n")
	if got := squeeze(out.String()); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

// squeeze makes one space of several.
func squeeze(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestMediansAreHeldAgainstGoals(t *testing.T) {
	var b table
	for _, f := range []float64{1.2, 1.0, 1.1} {
		b.add(rowIn, "copies", f)
		b.add(rowAll, "", f)
	}
	got := judge(&b, []goal{{row: rowIn, most: 1.06}, {row: rowAll, most: 1.10}, {row: rowLate}, {row: rowAll, most: 1.15, each: true}})
	want := []verdict{{rowIn, "copies", 1.06, 1.1, false}, {rowAll, "", 1.10, 1.1, true}, {rowAll, "", 1.15, 1.2, false}}
	if !slices.Equal(got, want) {
		t.Fatalf("judged %+v, want %+v: rows that weren't measured are left out", got, want)
	}
	var out strings.Builder
	tellVerdicts(&out, got[:2])
	if text := squeeze(out.String()); !strings.HasSuffix(text, "| WAN bytes to a site | 1.06 | 1.1 | copies | **falls short** |\n| time to all over the wire's best | 1.1 | 1.1 | | holds |\n") {
		t.Errorf("printed\n%s", text)
	}
}

// The fastest of those that were there is what we are held against.
func TestFastestOfOthersIsTheGoal(t *testing.T) {
	ours, slow, quick, gone := &named{name: "p2pnode"}, &named{name: "a"}, &named{name: "b"}, &named{name: "c"}
	for n, took := range map[*named]float64{ours: 8, slow: 20, quick: 9} {
		n.add("time to all", "s", took)
	}
	if v, ok := fastest([]*named{ours, slow, gone, quick}); !ok || !v.Holds || v.AtMost != 9 || v.Measured != 8 {
		t.Errorf("%+v, %v: want 8 against 9", v, ok)
	}
	if _, ok := fastest([]*named{ours, gone}); ok {
		t.Error("nobody is beaten where nobody was there")
	}
}

func TestAThirdOfASiteIsLate(t *testing.T) {
	for peers, want := range map[int]int{3: 1, 5: 2, 20: 7} {
		if got := lateOf(peers); got != want {
			t.Errorf("of %d endpoints %d are late, want %d", peers, got, want)
		}
	}
}

func TestKillsAreSpreadOverTheContent(t *testing.T) {
	for seed := range uint64(100) {
		at := points(rand.New(rand.NewPCG(seed, 0)), 5, 1000)
		if len(at) != 5 || !slices.IsSorted(at) || at[0] < 0 || at[4] >= 900 {
			t.Errorf("seed %d: %v, want 5 ascending below 900", seed, at)
		}
	}
}

func TestWireTimeIsWithoutHeaders(t *testing.T) {
	if got := wireTime(100*mib, 50*bandwidth.MbitPerSecond); got.Round(time.Millisecond) != 16777*time.Millisecond {
		t.Errorf("100 MiB at 50 Mbit/s take %v", got)
	}
	if got := wireTime(1, 0); got != 0 {
		t.Errorf("at no rate: %v, want 0", got)
	}
}

func TestDiskCountsAFileOfTwoNamesOnce(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 20
	if err := scenario.Sample(filepath.Join(dir, "a"), size, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	got, err := diskOf(dir, filepath.Join(dir, "b"), filepath.Join(dir, "not there"))
	if err != nil || got < size || got > size+64<<10 {
		t.Errorf("%d bytes (%v), want little more than %d", got, err, size)
	}
}

func TestFlagsChangeTheScene(t *testing.T) {
	at := func(name string) *command {
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
		return &commands[i]
	}
	o, err := at("branch").parse([]string{"-peers", "20", "-link", "rate=10mbit delay=20ms", "-size", "8"})
	if err != nil {
		t.Fatal(err)
	}
	p := o.scene.plan()
	if p.Branches != 2 || p.Peers != 20 || p.Up.Delay != 20*time.Millisecond || p.Down.Rate != p.Up.Rate || p.HQUp.Rate != 0 || o.size != 8*mib {
		t.Errorf("%+v, %+v", o, p)
	}
	if again, err := at("branch").parse(nil); err != nil || again.scene.peers != 5 || again.scene.link.Rate != 50*bandwidth.MbitPerSecond {
		t.Errorf("without flags: %+v (%v): what one parse sets stays", again, err)
	}
	o, err = at("spread").parse([]string{"-port", "1gbit"})
	if err != nil || o.scene.port != bandwidth.GbitPerSecond || o.said != "spread -port 1gbit" || o.runs != 5 {
		t.Errorf("%+v (%v)", o, err)
	}
	for _, wrong := range []string{"-beside gopher", "-contents 99"} {
		if _, err := at("branch").parse(strings.Fields(wrong)); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}
