package store

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content"
)

// The scripts in testdata/evict tell what goes: a line for each content with its
// name, size, how long it wasn't used and what else is known, then what is missing
// ("disk SIZE", "quota SIZE", "need SIZE" for both) and, indented, the answer. With UPDATE=1 they take over what the policy says now.
func TestEvictionScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/evict/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := playEviction(t, string(b))
		if got == string(b) {
			continue
		}
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Errorf("%s:\n%s", name, got)
	}
}

// playEviction returns a script with the policy's answers.
func playEviction(t *testing.T, script string) string {
	var out strings.Builder
	var all []holding
	names := make(map[content.ID]string)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue // an answer
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			all = nil
		case words[0] == "#":
		case words[0] == "need" || words[0] == "disk" || words[0] == "quota":
			size := scriptSize(t, words[1])
			e := evict(all, map[string]need{"need": {size, size}, "disk": {disk: size}, "quota": {quota: size}}[words[0]], now)
			for _, v := range e.victims {
				fmt.Fprintf(&out, "  %s goes\n", names[v.id])
			}
			for _, v := range e.later {
				fmt.Fprintf(&out, "  %s goes once it was copied\n", names[v.id])
			}
			if e.short > 0 {
				fmt.Fprintf(&out, "  refused, %s short; %v\n", humanize.IBytes(uint64(e.short)), e)
			} else {
				fmt.Fprintf(&out, "  %s freed\n", humanize.IBytes(uint64(e.freed)))
			}
		default:
			h := scriptHolding(t, words, now)
			h.id = content.ID(content.Sum([]byte(words[0])))
			names[h.id] = words[0]
			all = append(all, h)
		}
	}
	return out.String()
}

func scriptHolding(t *testing.T, words []string, now time.Time) holding {
	idle, err := time.ParseDuration(words[2])
	if err != nil {
		t.Fatal(err)
	}
	h := holding{size: scriptSize(t, words[1]), used: now.Add(-idle), complete: true}
	for _, w := range words[3:] {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "pinned":
			h.pinned = true
		case "partial":
			h.complete = false
		case "under-way":
			h.underWay = true
		case "read":
			h.read = true
		case "shares":
			h.shares = true
		case "leaving":
			h.leaving = true
		case "deployed":
			h.Deployed = true
		case "replicas":
			h.Replicas = n
		case "wanted":
			h.Wanted = n
		default:
			t.Fatalf("%q of a content", w)
		}
	}
	return h
}

func scriptSize(t *testing.T, text string) int64 {
	n, err := humanize.ParseBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// Whatever is held: nothing goes that may not, nothing goes in vain, what can be
// done is done, and what is to be copied first stays as long as the disk allows.
func TestEvictionKeepsItsRules(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var all []holding
		var could need
		for i := range rapid.IntRange(0, 30).Draw(t, "contents") {
			h := holding{
				id:   content.ID(content.Sum([]byte{byte(i)})),
				size: rapid.Int64Range(0, 1<<rapid.IntRange(0, 36).Draw(t, "bits")).Draw(t, "size"),
				// Clocks go back: some were used in the future.
				used:     now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(1000*time.Hour)).Draw(t, "idle"))),
				complete: rapid.Bool().Draw(t, "complete"), pinned: rapid.IntRange(0, 4).Draw(t, "pinned") == 0,
				underWay: rapid.IntRange(0, 9).Draw(t, "under way") == 0, read: rapid.IntRange(0, 9).Draw(t, "read") == 0,
				shares: rapid.IntRange(0, 3).Draw(t, "shares") == 0, leaving: rapid.IntRange(0, 5).Draw(t, "leaving") == 0,
				Wish: Wish{
					Replicas: rapid.IntRange(0, 4).Draw(t, "replicas"), Wanted: rapid.IntRange(0, 2).Draw(t, "wanted"),
					Deployed: rapid.IntRange(0, 9).Draw(t, "deployed") == 0,
				},
			}
			if h.stay() == mayGo {
				could.disk += h.size
				if !h.leaving {
					could.quota += h.size
				}
			}
			all = append(all, h)
		}
		n := need{
			disk:  rapid.Int64Range(0, could.disk+could.disk/8+1).Draw(t, "disk"),
			quota: rapid.Int64Range(0, could.quota+could.quota/8+1).Draw(t, "quota"),
		}
		e := evict(all, n, now)
		if !n.met(could) {
			if e.short != max(n.disk-could.disk, n.quota-could.quota) || len(e.victims)+len(e.later) > 0 {
				t.Fatalf("%+v of %+v can go: %d short, %d go", could, n, e.short, len(e.victims))
			}
			return
		}
		var freed need
		seen := make(map[content.ID]bool)
		for _, v := range slices.Concat(e.victims, e.later) {
			if v.pinned || v.Deployed || v.underWay || v.read || v.Wanted > 0 && v.Replicas < v.Wanted || seen[v.id] {
				t.Fatalf("%+v goes", v)
			}
			seen[v.id] = true
		}
		for _, v := range e.victims {
			freed.disk += v.size
			if !v.leaving {
				freed.quota += v.size
			}
		}
		for _, v := range e.later {
			freed.quota += v.size
			if !v.shares || v.leaving {
				t.Fatalf("%+v waits for nothing", v)
			}
		}
		if e.short > 0 || !n.met(freed) || freed.disk != e.freed {
			t.Fatalf("%+v of %+v freed, %d told", freed, n, e.freed)
		}
		for _, v := range e.victims {
			without := need{freed.disk - v.size, freed.quota - v.size}
			if v.leaving {
				without.quota = freed.quota
			}
			if n.met(without) {
				t.Fatalf("%d bytes go in vain for %+v of %+v", v.size, n, freed)
			}
			if v.shares && freed.disk-v.size >= n.disk {
				t.Fatalf("%d bytes go before they are copied, for %+v of %+v", v.size, n, freed)
			}
		}
		for _, v := range e.later {
			if freed.quota-v.size >= n.quota {
				t.Fatalf("%d bytes go later in vain for %+v of %+v", v.size, n, freed)
			}
		}
		// Nothing that shares goes now for the disk's sake while something else could.
		for _, v := range e.victims {
			if !v.shares || v.leaving {
				continue
			}
			for _, h := range all {
				if h.size > 0 && h.stay() == mayGo && !seen[h.id] && (!h.shares || h.leaving) && h.size >= v.size {
					t.Fatalf("%d bytes go that would have to be fetched, and %+v stays", v.size, h)
				}
			}
		}
	})
}
