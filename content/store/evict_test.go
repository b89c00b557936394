package store

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/content"
)

// The scripts in testdata/evict tell what goes: a line for each content with its
// name, size, how long it wasn't used and what else is known, then "need SIZE" and,
// indented, the answer. With UPDATE=1 they take over what the policy says now.
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
		case words[0] == "need":
			e := evict(all, scriptSize(t, words[1]), now)
			for _, v := range e.victims {
				fmt.Fprintf(&out, "  %s goes\n", names[v.id])
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

// Whatever is held: nothing goes that may not, nothing goes in vain, and what can
// be done is done.
func TestEvictionKeepsItsRules(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var all []holding
		var could int64
		for i := range rapid.IntRange(0, 30).Draw(t, "contents") {
			h := holding{
				id:   content.ID(content.Sum([]byte{byte(i)})),
				size: rapid.Int64Range(0, 1<<rapid.IntRange(0, 36).Draw(t, "bits")).Draw(t, "size"),
				// Clocks go back: some were used in the future.
				used:     now.Add(-time.Duration(rapid.Int64Range(-int64(time.Hour), int64(1000*time.Hour)).Draw(t, "idle"))),
				complete: rapid.Bool().Draw(t, "complete"), pinned: rapid.IntRange(0, 4).Draw(t, "pinned") == 0,
				underWay: rapid.IntRange(0, 9).Draw(t, "under way") == 0, read: rapid.IntRange(0, 9).Draw(t, "read") == 0,
				Wish: Wish{
					Replicas: rapid.IntRange(0, 4).Draw(t, "replicas"), Wanted: rapid.IntRange(0, 2).Draw(t, "wanted"),
					Deployed: rapid.IntRange(0, 9).Draw(t, "deployed") == 0,
				},
			}
			if h.stay() == mayGo {
				could += h.size
			}
			all = append(all, h)
		}
		need := rapid.Int64Range(0, could+could/4+1).Draw(t, "need")
		e := evict(all, need, now)
		if need > could {
			if e.short != need-could || len(e.victims) > 0 {
				t.Fatalf("%d of %d can go: %d short, %d go", could, need, e.short, len(e.victims))
			}
			return
		}
		var freed int64
		for _, v := range e.victims {
			if v.pinned || v.Deployed || v.underWay || v.read || v.Wanted > 0 && v.Replicas < v.Wanted {
				t.Fatalf("%+v goes", v)
			}
			freed += v.size
		}
		if e.short > 0 || freed < need || freed != e.freed {
			t.Fatalf("%d of %d freed, %d told", freed, need, e.freed)
		}
		for _, v := range e.victims {
			if freed-v.size >= need {
				t.Fatalf("%d bytes go in vain for %d of %d", v.size, need, freed)
			}
		}
	})
}
