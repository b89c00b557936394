package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// A tap is a link that lets so many bytes a second through, in each direction.
type tap struct {
	mu      sync.Mutex
	rate    float64
	next    time.Time
	changed chan struct{}
}

func newTap(rate float64) *tap { return &tap{rate: rate, changed: make(chan struct{})} }

func (l *tap) Sent(n int, done <-chan struct{}) {
	l.mu.Lock()
	if now := time.Now(); l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait, changed := time.Until(l.next), l.changed
	l.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-changed:
	case <-done:
	}
}

// turn lets another number of bytes a second through from now on, and whoever
// waits at once.
func (l *tap) turn(rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.next = rate, time.Now()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *tap) Received(int, <-chan struct{}) {}

// slowly starts an issuer whose bytes go out at a rate, and a neighbour with a
// gateway. Nothing but a stop of either ends what is under way.
func slowly(t *testing.T, bytesPerSecond float64) (hq, branch *endpoint, url string) {
	t.Helper()
	line := newTap(bytesPerSecond)
	hq = start(t, Config{Name: "hq", Site: "hq", Listen: localhost[:1], Line: func(trust.Credential) trust.Line { return line }})
	branch = hq.join("branch", "hq", func(c *Config) { c.Gateway, c.FirstSource = "127.0.0.1:0", patience })
	branch.meet(1)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return hq, branch, "http://" + branch.node.address()
}

// answer asks a gateway and returns the first bytes, with the time that they took.
func answer(t *testing.T, method, url string, headers ...string) (res *http.Response, first []byte, took time.Duration) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	if res, err = http.DefaultTransport.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	first = make([]byte, 1024)
	n, err := io.ReadFull(res.Body, first)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	return res, first[:n], time.Since(began)
}

// A file can be read through the gateway while it comes: its beginning at once,
// its end as soon, and all of it with one resume; many readers share one fetch.
func TestGatewayStreamsWhileItDownloads(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	hq, branch, url := slowly(t, 3<<20) // 10 s, unless it is turned up
	path := sample(t, filepath.Join(t.TempDir(), "film.mp4"), size, 1)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	added := hq.add(api.AddRequest{Paths: []string{path}, Name: "film"})
	film := url + "/content/" + added.Content

	res, first, took := answer(t, "GET", film)
	if res.StatusCode != 200 || !bytes.Equal(first, want[:len(first)]) || res.ContentLength != size || res.Header.Get("Content-Type") != "video/mp4" {
		t.Fatalf("%s, %d bytes, %v", res.Status, len(first), res.Header)
	}
	t.Logf("first byte after %v, of a content that a neighbour has", took)
	whole := func() bool {
		return gatehouse{branch.node}.Whole(mustID(t, added.Content))
	}
	if whole() {
		t.Error("the first byte came only when all was here")
	}
	end, tail, took := answer(t, "GET", film, "Range", "bytes=-1000")
	early := !whole()
	if end.StatusCode != 206 || !bytes.Equal(tail, want[size-1000:]) {
		t.Fatalf("the end: %s, %d bytes", end.Status, len(tail))
	}
	t.Logf("a seek to the end took %v", took)
	hq.cfg.Line(trust.Credential{}).(*tap).turn(1 << 30)
	if !early {
		t.Error("the end came only when all else was here")
	}
	if n := len(branch.node.fetches.all()); n != 1 && !whole() {
		t.Errorf("%d fetches", n)
	}
	head, none, _ := answer(t, "HEAD", film)
	if head.StatusCode != 200 || head.ContentLength != size || len(none) > 0 {
		t.Errorf("HEAD: %s, %d", head.Status, head.ContentLength)
	}
	tag := head.Header.Get("Etag")
	if same, none, _ := answer(t, "GET", film, "If-None-Match", tag); same.StatusCode != 304 || len(none) > 0 {
		t.Errorf("If-None-Match: %s", same.Status)
	}

	// The reader of the whole is cut off in its middle, and another goes on.
	half := make([]byte, size/3-len(first))
	if _, err := io.ReadFull(res.Body, half); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	got := append(first, half...)
	rest, more, _ := answer(t, "GET", film, "Range", fmt.Sprintf("bytes=%d-", len(got)), "If-Range", tag)
	tailing, err := io.ReadAll(rest.Body)
	if err != nil || rest.StatusCode != 206 {
		t.Fatalf("the rest: %s, %v", rest.Status, err)
	}
	if !bytes.Equal(append(append(got, more...), tailing...), want) {
		t.Error("other bytes than were published")
	}
	if sh := branch.node.fetches.brought(); sh[bandwidth.LAN-1].Verified > size+size/50 || sh[bandwidth.LAN-1].Corrupt > 0 {
		t.Errorf("%d bytes were fetched of %d: %+v", sh[bandwidth.LAN-1].Verified, size, sh)
	}
	// By name it is the same content, at the same address.
	if r, _, _ := answer(t, "GET", url+"/content/film"); r.StatusCode != 307 || r.Header.Get("Location") != "/content/"+added.Content {
		t.Errorf("by name: %s %v", r.Status, r.Header)
	}
}

func mustID(t *testing.T, s string) content.ID {
	t.Helper()
	id, err := content.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A fetch that nobody waits for any more ends; what came stays, and the next
// reader goes on from there.
func TestGatewayStopsWhenItsReadersLeft(t *testing.T) {
	t.Parallel() // it mostly waits
	hq, branch, url := slowly(t, 1<<20)
	branch.node.gates.linger = 100 * time.Millisecond
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "a.bin"), 20<<20, 1)}})
	one, _, _ := answer(t, "GET", url+"/content/"+added.Content)
	two, _, _ := answer(t, "GET", url+"/content/"+added.Content)
	one.Body.Close()
	time.Sleep(300 * time.Millisecond) // longer than it lingers: the second one keeps it
	if n := len(branch.node.fetches.all()); n != 1 {
		t.Fatalf("%d fetches while somebody reads", n)
	}
	two.Body.Close()
	until(t, patience, func() bool { return len(branch.node.fetches.all()) == 0 })
	c, ok := branch.node.store.Get(mustID(t, added.Content))
	if !ok || c.Progress() == 0 || c.Complete() {
		t.Fatalf("held: %t", ok)
	}
	here := c.Progress()
	hq.cfg.Line(trust.Credential{}).(*tap).turn(1 << 30)
	out := filepath.Join(t.TempDir(), "a.bin")
	if res := branch.get(added.Content, out); res.Here < here {
		t.Errorf("%d of %d bytes were still here", res.Here, here)
	}
}

// Who asks about a content, or looks into its folder, has nothing of it fetched. A
// get that comes meanwhile doesn't wait for readers.
func TestGatewayFetchesWhatIsRead(t *testing.T) {
	hq, branch, url := slowly(t, 1<<30)
	folder := filepath.Join(t.TempDir(), "films")
	sample(t, filepath.Join(folder, "film.mp4"), 8<<20, 1)
	added := hq.add(api.AddRequest{Paths: []string{folder}})
	for _, x := range []struct{ method, path string }{{"HEAD", "film.mp4"}, {"GET", ""}, {"HEAD", ""}} {
		if res, _, _ := answer(t, x.method, url+"/content/"+added.Content+"/"+x.path); res.StatusCode != 200 {
			t.Errorf("%s %q: %s", x.method, x.path, res.Status)
		}
	}
	c, ok := branch.node.store.Get(mustID(t, added.Content))
	all := branch.node.fetches.all()
	if !ok || len(all) != 1 {
		t.Fatalf("held: %t; %d fetches", ok, len(all))
	}
	if _, flows := all[0].flowStatus(); flows || c.Progress() > 0 {
		t.Errorf("%d bytes came", c.Progress())
	}
	branch.get(added.Content, filepath.Join(t.TempDir(), "films"))
}

// Who reads what a get brings doesn't wait until that has looked through this disk,
// and gets no more than it reads until then.
func TestGatewayReadsWhileAGetPrepares(t *testing.T) {
	const size = 48 << 20
	hq, branch, url := slowly(t, 1<<30)
	dir := t.TempDir()
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "small"), 1000, 1)}, Name: "small"})
	branch.get("small", filepath.Join(dir, "other")) // something to look through
	path := sample(t, filepath.Join(dir, "film.mp4"), size, 2)
	added := hq.add(api.AddRequest{Paths: []string{path}})
	id := mustID(t, added.Content)

	// A get, step by step, that never comes to its flow.
	ctx, stop := context.WithCancel(t.Context())
	f, mine := branch.node.fetches.begin(branch.node, wish{id: id, patience: time.Minute})
	if !mine {
		t.Fatal("somebody else fetches")
	}
	searched := make(chan error, 1)
	go func() { searched <- f.scout.Run(ctx) }()
	h, err := f.await(ctx, time.Now(), time.NewTimer(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	c, room, err := f.begin(h)
	if err != nil {
		t.Fatal(err)
	}
	f.settle(c)
	prepared := f.meanwhile(ctx)
	res, tail, _ := answer(t, "GET", url+"/content/"+added.Content, "Range", fmt.Sprintf("bytes=%d-", size-1000))
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 206 || !bytes.Equal(tail, want[size-1000:]) {
		t.Errorf("%s, %d bytes", res.Status, len(tail))
	}
	if _, flows := f.flowStatus(); flows || c.Progress() > 8<<20 {
		t.Errorf("%d bytes came", c.Progress())
	}
	prepared()
	f.flow = f.newFlow(branch.node.bans, false)
	f.start()
	if st, _ := f.flowStatus(); st.Resumed != 0 || st.Shares[bandwidth.LAN-1].Verified != st.Done || st.Done == 0 {
		t.Errorf("what came meanwhile is counted as there before: %+v", st)
	}
	stop()
	if err := <-searched; err != nil {
		t.Error(err)
	}
	room.Release()
	branch.node.fetches.end(f)
}

// Many readers, each at another place, get what they ask for while it comes, once for
// all of them, and one that doesn't read keeps nobody.
func TestGatewayServesManyReaders(t *testing.T) {
	const size, readers = 24 << 20, 32
	hq, branch, url := slowly(t, 32<<20)
	path := sample(t, filepath.Join(t.TempDir(), "film.mp4"), size, 1)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	film := url + "/content/" + hq.add(api.AddRequest{Paths: []string{path}}).Content
	answer(t, "GET", film) // reads its first bytes, and no more
	var all sync.WaitGroup
	for i := range readers {
		from := i * size / readers
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "GET", film, nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+size/readers-1))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Errorf("reader %d: %v", i, err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 206 || !bytes.Equal(got, want[from:from+size/readers]) {
				t.Errorf("reader %d: %s, %d bytes, %v", i, res.Status, len(got), err)
			}
		})
	}
	all.Wait()
	if lan := branch.node.fetches.brought()[bandwidth.LAN-1]; lan.Verified > size || lan.Duplicate > size/50 {
		t.Errorf("for %d bytes, %+v came", size, lan)
	}
}

// Who waits for a content that another reader asked for, and then left, isn't told
// that somebody left.
func TestGatewayReadersLeaveAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newGateTable() // nobody takes what is begun yet
		one, leave := context.WithCancel(t.Context())
		left, told := make(chan error, 1), make(chan error, 1)
		go func() {
			_, _, err := table.open(one, nil, content.ID{1}, nil)
			left <- err
		}()
		synctest.Wait()
		go func() {
			_, _, err := table.open(t.Context(), nil, content.ID{1}, nil)
			told <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left is told %v", err)
		}
		(<-table.begin).end(nil, content.ErrNoSpace)
		if err := <-told; !errors.Is(err, content.ErrNoSpace) {
			t.Errorf("who stayed is told %v", err)
		}
	})
}

// What isn't there, and what may not be served, is told apart.
func TestGatewayRefuses(t *testing.T) {
	t.Parallel()
	hq, branch, url := slowly(t, 1<<30)
	branch.node.cfg.FirstSource = 300 * time.Millisecond
	added := hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "a.bin"), 3<<20, 1)}, Name: "a"})
	if r, _, _ := answer(t, "GET", url+"/content/"+content.ID{1}.String()); r.StatusCode != 404 {
		t.Errorf("unheard of: %s", r.Status)
	}
	if r, _, _ := answer(t, "GET", url+"/content/nothing"); r.StatusCode != 404 {
		t.Errorf("an unheard of name: %s", r.Status)
	}
	if r, _, _ := answer(t, "GET", url+"/content/"+added.Content, "Cache-Control", "only-if-cached"); r.StatusCode != 412 {
		t.Errorf("not cached: %s", r.Status)
	}
	branch.node.cfg.FirstSource = patience
	branch.get(added.Content, filepath.Join(t.TempDir(), "a.bin"))
	branch.node.cfg.FirstSource = 300 * time.Millisecond
	hq.stop()
	if r, _, _ := answer(t, "GET", url+"/content/"+added.Content); r.StatusCode != 200 {
		t.Errorf("held, its publisher away: %s", r.Status)
	}
	branch.node.catalogue.remove(mustID(t, added.Content)) // as when none verifies any more
	if r, text, _ := answer(t, "GET", url+"/content/"+added.Content); r.StatusCode != 410 {
		t.Errorf("held, and signed by nobody: %s %s", r.Status, text)
	}
}

// IPFS tools get every block by its CID, and the whole as a CAR, which an import
// takes back.
func TestGatewayGivesBlocksAndCARs(t *testing.T) {
	t.Parallel()
	hq, branch, url := slowly(t, 1<<30)
	dir := t.TempDir()
	sample(t, filepath.Join(dir, "tree", "a.bin"), 3<<20, 1)
	sample(t, filepath.Join(dir, "tree", "b", "c.bin"), 1<<20, 2)
	added := hq.add(api.AddRequest{Paths: []string{filepath.Join(dir, "tree")}, Name: "tree"})
	if r, _, _ := answer(t, "GET", url+"/ipfs/"+added.Content+"?format=car"); r.StatusCode != 404 {
		t.Errorf("before it is here: %s", r.Status)
	}
	branch.get(added.Content, filepath.Join(t.TempDir(), "tree"))
	id := mustID(t, added.Content)
	c, _ := branch.node.store.Get(id)
	check := func(cid string, h content.Hash) {
		t.Helper()
		r, first, _ := answer(t, "GET", url+"/ipfs/"+cid+"?format=raw")
		rest, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 || content.Sum(append(first, rest...)) != h {
			t.Errorf("%s: %s, %v", cid, r.Status, err)
		}
	}
	check(added.Content, content.Hash(id))
	until(t, patience, func() bool { // the index takes its time
		blocks, _ := c.Blocks(0)
		return branch.node.store.HasBlock(blocks[0].Hash)
	})
	for i, chunk := range c.Manifest().Chunks {
		check(chunk.Hash.String(), chunk.Hash)
		blocks, _ := c.Blocks(i)
		for _, b := range blocks {
			check(b.Hash.Raw().String(), b.Hash)
		}
	}

	r, first, _ := answer(t, "GET", url+"/ipfs/"+added.Content+"?format=car")
	rest, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("%s, %v", r.Status, err)
	}
	file := filepath.Join(t.TempDir(), "tree.car")
	if err := os.WriteFile(file, append(first, rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	// It has no release, so whoever doesn't know one refuses it.
	if _, err := branch.node.API().Import(t.Context(), api.ImportRequest{Path: file}, nil); err != nil {
		t.Errorf("import where a release is known: %v", err)
	}
	other := start(t, Config{Name: "other", Site: "other"})
	if _, err := other.node.API().Import(t.Context(), api.ImportRequest{Path: file}, nil); api.From(err).Code != api.NotPermitted {
		t.Errorf("import where none is known: %v", err)
	}
}

func TestSegmentsAreFound(t *testing.T) {
	t.Parallel()
	e := start(t, Config{Name: "hq", Site: "hq"})
	m := &content.Manifest{Files: []content.File{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: time.Unix(0, 0).UTC()}}}
	for i := range 12_000 { // names of 100 bytes: a manifest of 1.5 MB
		m.Files = append(m.Files, content.File{Path: fmt.Sprintf("%0100d", i), Mode: 0o644, ModTime: time.Unix(0, 0).UTC()})
	}
	enc, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.node.store.Begin(enc)
	if err != nil {
		t.Fatal(err)
	}
	segments := c.Encoded().Segments
	if len(segments) < 2 {
		t.Fatalf("%d segments", len(segments))
	}
	for _, s := range segments {
		got, err := gatehouse{e.node}.Block(context.Background(), content.Sum(s))
		if err != nil || !bytes.Equal(got, s) {
			t.Errorf("%v", err)
		}
	}
}

// What a reader waits for comes to another content once this one is loaded anew.
func TestGatewayReaderOfAContentThatEnded(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	file := filepath.Join(t.TempDir(), "film.mp4")
	sample(t, file, 1<<20, 1)
	id := mustID(t, hq.add(api.AddRequest{Paths: []string{file}}).Content)
	c, _ := hq.node.store.Get(id)
	ended := make(chan error, 1)
	r := &reading{Content: c, gate: &gate{news: make(chan struct{})}} // whose fetch goes on
	go func() { ended <- r.wait(t.Context(), nil, func() bool { return false }) }()
	if err := hq.node.store.Remove(id); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, content.ErrNotFound) {
		t.Error(err)
	}
}
