package node

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// A publisher that keeps no copy: whoever gets it takes the bytes from the
// server, and then they have them for each other.
func TestWhatStaysOnAServerIsFetchedFromThere(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	c := a.join("till-2", "branch")
	b.meet(1)
	c.meet(1)
	data := sampleBytes(12<<20+77, 50)
	var down atomic.Bool
	var given atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fileServer(data)(&counting{w, &given}, r)
	})
	added := a.add(api.AddRequest{Paths: []string{s.URL + "/os.iso"}, Remote: true, Name: "os", Version: "12"})
	given.Store(0)

	out := filepath.Join(t.TempDir(), "b.iso")
	got := b.get("os", out)
	if got.Content != added.Content || !got.Verified || got.From != (api.ByLink{Origin: int64(len(data))}) || got.Wasted != (api.Wasted{}) {
		t.Errorf("got %+v", got)
	}
	if n := given.Load(); n != int64(len(data)) {
		t.Errorf("the server gave %d bytes for %d", n, len(data))
	}
	if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if p := a.content(added.Content).Progress(); p != 0 {
		t.Errorf("the publisher has %d bytes now", p)
	}

	// The server is gone; the neighbour has it.
	down.Store(true)
	until(t, patience, func() bool { return len(c.node.host.Network().Peers()) == 2 })
	if got := c.get("os", filepath.Join(t.TempDir(), "c.iso")); got.From != (api.ByLink{LAN: int64(len(data))}) {
		t.Errorf("from %+v, want all from the neighbour", got.From)
	}
}

// G24 between whole nodes: a network that puts a page in the place of the file is
// told of, and peers give the bytes.
func TestG24PeersGiveWhatAPortalHides(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	b.meet(1)
	data := sampleBytes(6<<20, 51)
	var portal atomic.Bool
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if portal.Load() {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>log in"))
			return
		}
		fileServer(data)(w, r)
	})
	added := a.add(api.AddRequest{Paths: []string{s.URL + "/f"}, Name: "f"})
	portal.Store(true)
	got := b.get("f", filepath.Join(t.TempDir(), "out"))
	if got.Content != added.Content || !got.Verified || got.From != (api.ByLink{WAN: int64(len(data))}) || got.Wasted != (api.Wasted{}) {
		t.Errorf("got %+v", got)
	}
}

// A server whose bytes aren't those that were published is no source, and nothing
// of it is kept. Without another one the get ends and names the address; with one it
// goes on; and what is published there next can be had at once.
func TestG24ReplacedFileIsNotTaken(t *testing.T) {
	t.Parallel() // it mostly waits
	data, other := sampleBytes(6<<20, 52), sampleBytes(6<<20, 53)
	for name, test := range map[string]struct {
		now  http.HandlerFunc
		says string
		bans bool
	}{
		"other bytes": {fileServer(other), "changed since it was published", true},
		"longer":      {fileServer(append(slices.Clip(other), 'x')), "changed since it was published", false},
		"shorter":     {fileServer(other[:1<<20]), "changed since it was published", false},
		"gone":        {http.NotFound, "is not there any more", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, Config{Name: "hq", Site: "hq"})
			b := a.join("till-1", "branch")
			c := a.join("till-2", "branch")
			b.meet(1)
			c.meet(1)
			var replaced atomic.Bool
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if replaced.Load() {
					test.now(w, r)
					return
				}
				fileServer(data)(w, r)
			})
			added := a.add(api.AddRequest{Paths: []string{s.URL + "/f"}, Remote: true, Name: "f"})
			dir := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			replaced.Store(true)
			_, err := b.node.API().Get(ctx, api.GetRequest{Ref: "f", Output: filepath.Join(dir, "b")}, nil)
			e := api.From(err)
			if e.Code != api.NotFound || !strings.Contains(e.Message, s.URL+"/f "+test.says) || !strings.Contains(e.Next, "p2pnode add "+s.URL+"/f --remote") || len(e.Tried) == 0 {
				t.Fatalf("with other bytes only: %+v", e)
			}
			if c := b.content(added.Content); c.Progress() != 0 {
				t.Errorf("%d bytes are kept", c.Progress())
			}
			ds, err := b.node.API().Decisions(ctx, 1000)
			if err != nil {
				t.Fatal(err)
			}
			banned := false
			for _, d := range ds {
				banned = banned || d.Verb == "ban" && d.Peer == "origin:"+s.Listener.Addr().String()
			}
			if banned != test.bans {
				t.Errorf("the server is banned: %v; %+v", banned, ds)
			}
			if name != "other bytes" { // else the address rests a while
				return
			}
			next := a.add(api.AddRequest{Paths: []string{s.URL + "/f"}, Remote: true, Name: "f", Version: "2"})
			if got := b.get(next.Content, filepath.Join(dir, "b")); got.Content != next.Content || got.From != (api.ByLink{Origin: got.Size}) {
				t.Errorf("the next version: %+v", got)
			}
			replaced.Store(false)
			c.get("f@1", filepath.Join(dir, "c"))
			replaced.Store(true)
			if got := b.get("f@1", filepath.Join(dir, "b1")); got.From.LAN == 0 {
				t.Errorf("with another source: %+v", got)
			}
		})
	}
}
