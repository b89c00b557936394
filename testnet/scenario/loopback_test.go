package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

const mib = 1 << 20

// size returns what a scenario moves: small in `go test ./...`, as large as the
// goals ask if told so.
func size(small, large int64) int64 {
	if full {
		return large
	}
	return small
}

// enterprise starts a node that makes an enterprise of its own, and n more that
// join it, each with an invitation of its own.
func enterprise(t *testing.T, ctx context.Context, l *Lab, n int) (*Node, []*Node) {
	t.Helper()
	hub := l.Node("hub", nil, append(loopback(t), "--site", "hq")...)
	must(t, hub.Start(ctx))
	var members []*Node
	for i := range n {
		m := l.Node(fmt.Sprintf("member%d", i), nil, loopback(t)...)
		token, err := hub.Tell(ctx, "invite", "--site", "branch")
		must(t, err)
		must(t, m.Start(ctx, "--join", token))
		members = append(members, m)
	}
	return hub, members
}

// publish adds path on n and returns the content id.
func publish(t *testing.T, ctx context.Context, n *Node, path string) string {
	t.Helper()
	id, err := n.Tell(ctx, "add", "-q", path)
	must(t, err)
	return id
}

// fetch gets a content and returns what the node says of it.
func fetch(ctx context.Context, n *Node, id, out string) (api.GetResult, error) {
	var r api.GetResult
	err := n.Read(ctx, &r, "get", id, "-o", out)
	return r, err
}

// fetching is a get that goes on while the test does something else.
type fetching struct {
	result api.GetResult
	done   chan error
}

func fetchBehind(ctx context.Context, n *Node, id, out string) *fetching {
	f := &fetching{done: make(chan error, 1)}
	go func() {
		var err error
		f.result, err = fetch(ctx, n, id, out)
		f.done <- err
	}()
	return f
}

// arrived waits until the node has more than least bytes of a content.
func arrived(t *testing.T, ctx context.Context, n *Node, id string, least int64) int64 {
	t.Helper()
	for {
		got, err := n.Here(ctx, id)
		must(t, err)
		if got > least {
			return got
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s has %d bytes of %s: %v", n.Name, got, id, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// forget takes a content from a node, and where a get put it.
func forget(t *testing.T, ctx context.Context, n *Node, id, out string) {
	t.Helper()
	_, err := n.Tell(ctx, "content", "rm", id, "--yes")
	must(t, err, os.RemoveAll(out))
}

func TestFileAndTreeArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	l := lab(t)
	ctx := within(t, 3*time.Minute)
	hub, members := enterprise(t, ctx, l, 1)
	file := sample(t, l, size(64*mib, 1024*mib))
	tree := filepath.Join(l.Dir, "tree")
	must(t, SampleTree(tree, int(size(500, 5000)), seed))
	for _, path := range []string{file, tree} {
		id := publish(t, ctx, hub, path)
		out := filepath.Join(l.Dir, "out-"+filepath.Base(path))
		r, err := fetch(ctx, members[0], id, out)
		must(t, err)
		same(t, out, path)
		if r.From.Total() != r.Size || !r.Verified {
			t.Errorf("%s: %+v: want all of it fetched and verified", filepath.Base(path), r)
		}
	}
}

// A kill loses nothing that was verified: the node has it when it runs again,
// and fetches the rest only.
func TestKilledNodeFetchesNothingTwice(t *testing.T) {
	t.Parallel()
	l := lab(t)
	ctx := within(t, 5*time.Minute)
	hub, members := enterprise(t, ctx, l, 1)
	m := members[0]
	total, kills := size(192*mib, 1024*mib), int(size(4, 20))
	path, out := sample(t, l, total), filepath.Join(l.Dir, "out.bin")
	id := publish(t, ctx, hub, path)
	r := rand.New(rand.NewPCG(seed, 1))
	// Kills are spread over the content: each waits for a random part of an even
	// share of what is missing.
	var had int64
	late := 0
	for hit := 0; hit < kills; {
		get := fetchBehind(ctx, m, id, out)
		got := arrived(t, ctx, m, id, had+r.Int64N((total-had)/int64(kills-hit+1)+1))
		must(t, m.Kill())
		<-get.done
		must(t, ctx.Err(), m.Start(ctx))
		var err error
		had, err = m.Here(ctx, id)
		must(t, err)
		if had < got {
			t.Errorf("kill %d of %d: %d bytes were verified, %d are after the restart", hit+1, kills, got, had)
		}
		t.Logf("kill %d at %d bytes, %d after the restart", hit+1, got, had)
		if had < total {
			hit++
			continue
		}
		// The get was faster than the kill: from the beginning.
		if late++; late > 2*kills {
			t.Fatalf("%d kills came too late and %d in the middle of a get", late, hit)
		}
		forget(t, ctx, m, id, out)
		had = 0
	}
	got, err := fetch(ctx, m, id, out)
	must(t, err)
	same(t, out, path)
	if got.Here < had || got.Here+got.From.Total() != got.Size || got.Wasted != (api.Wasted{}) {
		t.Errorf("last get: %+v: want at least %d here, the rest fetched once, nothing wasted", got, had)
	}
}

func TestGetGoesOnWhenPublisherIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	l := lab(t)
	ctx := within(t, 3*time.Minute)
	hub, members := enterprise(t, ctx, l, 1)
	path := sample(t, l, size(256*mib, 2048*mib))
	id := publish(t, ctx, hub, path)
	out := filepath.Join(l.Dir, "out.bin")
	for range 5 {
		get := fetchBehind(ctx, members[0], id, out)
		had := arrived(t, ctx, members[0], id, 8*mib)
		must(t, hub.Kill())
		select {
		case err := <-get.done:
			if err != nil {
				t.Fatalf("the get ended with its only source, at %d bytes: %v", had, err)
			}
			forget(t, ctx, members[0], id, out) // it was faster than the kill: once more
			must(t, hub.Start(ctx))
		case <-time.After(time.Second):
			must(t, hub.Start(ctx))
			must(t, <-get.done)
			same(t, out, path)
			return
		}
	}
	t.Fatal("all gets were faster than the kill")
}

func TestGetGoesOnWhenOneOfThreeSourcesIsKilled(t *testing.T) {
	t.Parallel()
	l := lab(t)
	ctx := within(t, 3*time.Minute)
	hub, members := enterprise(t, ctx, l, 3)
	path := sample(t, l, size(256*mib, 2048*mib))
	id := publish(t, ctx, hub, path)
	for _, m := range members[:2] {
		_, err := fetch(ctx, m, id, filepath.Join(l.Dir, "out-"+m.Name))
		must(t, err)
	}
	last, out := members[2], filepath.Join(l.Dir, "out.bin")
	get := fetchBehind(ctx, last, id, out)
	arrived(t, ctx, last, id, 8*mib)
	must(t, members[0].Kill())
	must(t, <-get.done)
	same(t, out, path)
	if get.result.From.Total() != get.result.Size {
		t.Errorf("%+v: want every byte once", get.result)
	}
}

// What goes wrong ends with its own exit code, and says what to do.
func TestVerbsTellWhatIsWrong(t *testing.T) {
	t.Parallel()
	l := lab(t)
	ctx := within(t, 3*time.Minute)
	hub, _ := enterprise(t, ctx, l, 0)
	idle := l.Node("idle", nil)
	const unknown = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	for _, c := range []struct {
		node *Node
		verb []string
		code int
	}{
		{idle, []string{"status"}, 10},
		{hub, []string{"get", unknown, "-o", filepath.Join(l.Dir, "none"), "--timeout", "2s"}, 11},
		{hub, []string{"get", "no id, nor a name", "-o", filepath.Join(l.Dir, "none")}, 64},
		{hub, []string{"add", filepath.Join(l.Dir, "missing")}, 64},
		{hub, []string{"fly"}, 64},
	} {
		a, err := c.node.Ask(ctx, c.verb...)
		if err := errors.Join(err, a.Err(c.code)); err != nil {
			t.Error(err)
		}
		if a.Stderr == "" {
			t.Errorf("%s: says nothing on stderr", a.Verb)
		}
	}
}
