package node

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/flow"
)

// A person can ask where a content, and each chunk of it, came from, and of what is
// not here, or was published here, too.
func TestContentIsExplained(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	b.meet(1)
	added := a.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "x"), 6<<20, 5)}, Name: "app", Version: "1"})
	b.get("app@1", filepath.Join(t.TempDir(), "out"))

	w, err := b.node.API().Why(t.Context(), "app", api.AllChunks)
	if err != nil {
		t.Fatal(err)
	}
	if w.Content != added.Content || w.Version != "1" || w.Chunks != added.Chunks || w.Here != w.Chunks || w.Flow != nil || w.Chunk != nil {
		t.Errorf("%+v", w)
	}
	if len(w.Came) != 1 || w.Came[0].Name != "hq" || w.Came[0].Link != "wan" || w.Came[0].Chunks != w.Chunks || w.Came[0].First.After(w.Came[0].Last) {
		t.Errorf("came %+v", w.Came)
	}
	text := ""
	for i, s := range w.Said {
		text += s.Text + "\n"
		if i > 0 && s.Time.Before(w.Said[i-1].Time) {
			t.Error("not in the order of time")
		}
	}
	if !strings.Contains(text, "hq became a source over the WAN") || !strings.HasSuffix(text, "all of it is here\n") || strings.Contains(text, "asked for chunk") {
		t.Errorf("said:\n%s", text)
	}

	w, err = b.node.API().Why(t.Context(), added.Content, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c := w.Chunk; c == nil || !c.Here || c.Time == nil || c.Name != "hq" || c.Link != "wan" || !strings.HasPrefix(c.Text, "chunk 0 came from hq over the WAN") {
		t.Errorf("%+v", c)
	}
	for _, s := range w.Said {
		if s.Chunk != 0 {
			t.Errorf("%q is about another chunk", s.Text)
		}
	}
	if len(w.Said) < 2 {
		t.Errorf("said %+v", w.Said)
	}

	w, err = a.node.API().Why(t.Context(), "app@1", 0)
	if err != nil || w.Chunk == nil || !w.Chunk.Here || w.Chunk.Time != nil || len(w.Came) != 0 || !strings.Contains(w.Chunk.Text, "was added") {
		t.Errorf("of what was published: %+v, %v", w, err)
	}
	if _, err := b.node.API().Why(t.Context(), "app", w.Chunks); api.From(err).Code != api.Usage || !strings.Contains(api.From(err).Next, "from 0 to") {
		t.Errorf("a chunk beyond the last: %v", err)
	}
	for _, ref := range []string{"nothing", "app@2", "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"} {
		if _, err := b.node.API().Why(t.Context(), ref, api.AllChunks); api.From(err).Code != api.NotFound || api.From(err).Next == "" {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// What happens to many chunks at once is told once.
func TestAlikeChoicesAreToldTogether(t *testing.T) {
	late := func(chunk int, p peer.ID) flow.Decision {
		return flow.Decision{Chunk: chunk, Peer: p, Verb: flow.Doubt, Reason: discovery.TooSlow}
	}
	got := together([]flow.Decision{
		late(1, "a"), late(2, "a"), late(3, "a"), late(4, "b"), late(5, "a"), late(5, "a"), {Chunk: flow.NoChunk, Verb: flow.Wait}, {Chunk: flow.NoChunk, Verb: flow.Wait},
	}, 4)
	want := []alike{{late(4, "b"), 0}, {late(5, "a"), 0}, {late(5, "a"), 0}, {flow.Decision{Chunk: flow.NoChunk, Verb: flow.Wait}, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := together([]flow.Decision{late(1, "a"), late(2, "a"), late(3, "a")}, 4); !slices.Equal(got, []alike{{late(3, "a"), 2}}) {
		t.Errorf("%+v", got)
	}
}
