//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

func TestTorrentListsPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	const size = torrentPiece + 5
	if err := scenario.Sample(path, size, 1); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeTorrent(path+".torrent", path, "http://here/"); err != nil {
		t.Fatal(err)
	}
	first, second := sha1.Sum(text[:torrentPiece]), sha1.Sum(text[torrentPiece:])
	want := "d8:announce12:http://here/4:infod6:lengthi1048581e4:name4:file12:piece lengthi1048576e6:pieces40:" + string(first[:]) + string(second[:]) + "ee"
	if got, err := os.ReadFile(path + ".torrent"); err != nil || string(got) != want {
		t.Errorf("wrote %q (%v), want %q", got, err, want)
	}
}

// Whoever asks the tracker learns of all who asked before, and not of itself.
func TestTrackerTellsOfOthers(t *testing.T) {
	var all tracker
	ask := func(from, query string) string {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/announce?"+query, nil)
		r.RemoteAddr = from + ":9999"
		all.ServeHTTP(w, r)
		return w.Body.String()
	}
	for i, c := range []struct{ from, query, want string }{
		{"10.0.0.1", "port=6881", "d8:intervali5e5:peers0:e"},
		{"10.0.0.1", "port=6881", "d8:intervali5e5:peers0:e"},
		{"10.0.0.2", "port=258", "d8:intervali5e5:peers6:\x0a\x00\x00\x01\x1a\xe1e"},
		{"10.0.0.1", "port=6881", "d8:intervali5e5:peers6:\x0a\x00\x00\x02\x01\x02e"},
		{"10.0.0.3", "", "no port\n"},
	} {
		if got := ask(c.from, c.query); got != c.want {
			t.Errorf("answer %d: %q, want %q", i, got, c.want)
		}
	}
}

// A program that ends by itself is an error, and what it said is in it.
func TestProgramThatEndsIsToldOf(t *testing.T) {
	var p programs
	p.begin(t.Context())
	if err := p.add(exec.CommandContext(p.ctx, "sh", "-c", "echo no such option >&2; exit 3")); err != nil {
		t.Fatal(err)
	}
	err := p.appears(t.Context(), filepath.Join(t.TempDir(), "never"))
	if err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("%v, want what it said", err)
	}
	_ = p.end() // the same error
	var calm programs
	calm.begin(t.Context())
	if err := calm.add(exec.CommandContext(calm.ctx, "sleep", "60")); err != nil {
		t.Fatal(err)
	}
	if err := calm.end(); err != nil {
		t.Errorf("one that we ended: %v", err)
	}
}

func TestRivalThatIsNotInstalledSaysHowToGetIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := rival{name: "gopher", needs: "gopherd"}
	if err := r.there(); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "apt-get install gopher") {
		t.Errorf("%v", err)
	}
}

func TestReportHoldsAllFigures(t *testing.T) {
	n := &named{name: "p2pnode"}
	n.add(rowAll, "", 1.5)
	n.add(rowAll, "", 2.5)
	var out bytes.Buffer
	r := report{Schema: 1, Command: "branch", Runs: 2, Means: []columns{{n.name, n.series()}}, Goals: judge(&n.table, []goal{{row: rowAll, most: 1.1}})}
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"figures": [`, `"median": 2`, `"at_most": 1.1`, `"holds": false`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in\n%s", want, &out)
		}
	}
}
