package node

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/exchange"
)

// A publisher at another site is asked for the manifest before it says what it holds,
// and once the flow begins it counts what the publisher said meanwhile: a round trip
// each.
func TestFetchBeginsWithFewRoundTrips(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till-1", "branch")
	till.meet(1)
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "x"), 4<<20, 9)}, Name: "x"})
	id, err := content.ParseID(added.Content)
	if err != nil {
		t.Fatal(err)
	}
	x, err := till.node.exchange.Session(t.Context(), hq.node.host.ID())
	if err != nil {
		t.Fatal(err)
	}
	f, mine := till.node.fetches.begin(till.node, wish{id: id})
	if !mine {
		t.Fatal("somebody else fetches")
	}
	defer till.node.fetches.end(f)
	asked := make(chan bool, 1)
	var claimed atomic.Pointer[roaring.Bitmap]
	go func() { asked <- f.ask(t.Context(), x, &claimed) }()
	var h holding
	select {
	case h = <-f.manifest: // nobody was given one of f.slots
	case <-time.After(patience):
		t.Fatal("not asked for the manifest")
	}
	if h.encoded.ID != id || len(h.releases) == 0 {
		t.Errorf("a manifest of %s with %d releases", h.encoded.ID, len(h.releases))
	}
	until(t, patience, func() bool { return claimed.Load() != nil })
	f.preparation = new(preparation)
	close(f.settled)
	if !<-asked {
		t.Error("the session isn't used")
	}

	all := claimed.Load().Clone()
	s := &source{Session: x, joined: f.hasSource, claimed: roaring.BitmapOf(0, 1<<20)}
	told := make(chan *roaring.Bitmap, 2)
	stop, err := s.Follow(id, int(all.GetCardinality()), func(have *roaring.Bitmap) { told <- have })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for i, want := range []*roaring.Bitmap{roaring.BitmapOf(0), all} {
		select {
		case have := <-told:
			if !have.Equals(want) {
				t.Errorf("%d. it has %v, want %v", i+1, have, want)
			}
		case <-time.After(patience):
			t.Fatal("not told what it has")
		}
	}
	if !f.hadSource() {
		t.Error("it has some of the content, and isn't counted as a source")
	}
}

// Others are asked once they say that they hold something: a manifest may be large.
func TestManifestIsNotAskedOfWhoMayNotPublish(t *testing.T) {
	t.Parallel()
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till-1", "branch")
	till.meet(1)
	id, err := content.ParseID(hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "x"), 1<<20, 9)}, Name: "x"}).Content)
	if err != nil {
		t.Fatal(err)
	}
	till.get(id.String(), filepath.Join(t.TempDir(), "x"))
	other := hq.join("kiosk-1", "shop")
	other.meet(1)
	var x *exchange.Session
	until(t, patience, func() bool {
		other.node.keeper.dial(t.Context(), hq.node.keeper.lookup(till.node.host.ID()))
		x, err = other.node.exchange.Session(t.Context(), till.node.host.ID())
		return err == nil
	})
	if link := other.node.link(till.node.host.ID()); link != bandwidth.WAN {
		t.Fatalf("%s", link)
	}
	f, _ := other.node.fetches.begin(other.node, wish{id: id})
	defer other.node.fetches.end(f)
	go func() { // what it is asked for all the same
		select {
		case <-f.manifest:
			f.preparation = new(preparation)
			close(f.settled)
		case <-t.Context().Done():
		}
	}()
	if f.guess(t.Context(), x) {
		t.Error("its manifest was fetched")
	}
}
