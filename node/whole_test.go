package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/trust"
)

// Whole nodes on loopback, in one process: what a user does with two machines.

// An endpoint is a node of a test that can be stopped and started again.
type endpoint struct {
	t      *testing.T
	cfg    Config
	log    *zap.Logger
	node   *Node
	cancel context.CancelFunc
	done   chan error
}

// patience is how long a test waits for what must come, on a machine that may be
// busy with other tests.
const patience = time.Minute

var localhost = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/0"), ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")}

// start makes a node run; name is for people, site its own unless it joined one.
func start(t *testing.T, cfg Config) *endpoint {
	t.Helper()
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(cfg.Name)
	}
	cfg.MDNS, cfg.API = []string{"off"}, APIOff
	if cfg.Listen == nil {
		cfg.Listen = localhost
	}
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	e := &endpoint{t: t, cfg: cfg, log: log}
	e.run()
	t.Cleanup(e.stop)
	return e
}

func (e *endpoint) run() {
	e.t.Helper()
	n, err := New(e.cfg, e.log)
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.node, e.cancel, e.done = n, cancel, make(chan error, 1)
	go func() { e.done <- n.Run(ctx) }()
	<-n.Ready()
}

// stop ends the node and fails the test if it doesn't end cleanly.
func (e *endpoint) stop() {
	e.t.Helper()
	if e.cancel == nil {
		return
	}
	e.cancel()
	e.cancel = nil
	select {
	case err := <-e.done:
		if err != nil {
			e.t.Errorf("node %s: %v", e.cfg.Name, err)
		}
	case <-time.After(patience):
		e.t.Fatalf("node %s doesn't stop", e.cfg.Name)
	}
}

// join starts a node that joins the enterprise of an issuer.
func (e *endpoint) join(name, site string, change ...func(*Config)) *endpoint {
	e.t.Helper()
	inv, err := e.node.API().Invite(e.t.Context(), api.InviteRequest{Site: site, Name: name})
	if err != nil {
		e.t.Fatal(err)
	}
	tok, err := trust.ParseToken(inv.Token)
	if err != nil {
		e.t.Fatal(err)
	}
	dir := e.t.TempDir()
	id, err := trust.Enrol(e.t.Context(), dir, tok, trust.EnrolOptions{Name: name})
	if err != nil {
		e.t.Fatal(err)
	}
	if err := id.Close(); err != nil {
		e.t.Fatal(err)
	}
	cfg := Config{Data: dir, Name: name}
	for _, c := range change {
		c(&cfg)
	}
	return start(e.t, cfg)
}

// meet waits until the node is connected to n others.
func (e *endpoint) meet(n int) {
	e.t.Helper()
	until(e.t, patience, func() bool { return len(e.node.host.Network().Peers()) >= n })
}

func until(t *testing.T, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not so after %s", limit)
		}
		time.Sleep(10 * time.Millisecond) // the network's time, not ours
	}
}

func (e *endpoint) add(r api.AddRequest) api.AddResult {
	e.t.Helper()
	res, err := e.node.API().Add(e.t.Context(), r, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return res
}

func (e *endpoint) get(ref, out string) api.GetResult {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 2*patience)
	defer cancel()
	res, err := e.node.API().Get(ctx, api.GetRequest{Ref: ref, Output: out}, nil)
	if err != nil {
		e.t.Fatalf("get %s: %v (%v)", ref, err, api.From(err).Tried)
	}
	return res
}

// sample writes a file of random bytes.
func sample(t *testing.T, path string, size int, seed uint64) string {
	t.Helper()
	b := sampleBytes(size, seed)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleBytes(size int, seed uint64) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(x) != sha256.Sum256(y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

// sameTree fails unless both folders have the same files, modes and times.
func sameTree(t *testing.T, a, b string) {
	t.Helper()
	type entry struct {
		mode fs.FileMode
		time time.Time
		sum  [32]byte
	}
	read := func(dir string) map[string]entry {
		out := make(map[string]entry)
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			e := entry{mode: info.Mode(), time: info.ModTime()}
			if !d.IsDir() {
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				e.sum = sha256.Sum256(b)
			}
			out[rel] = e
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	x, y := read(a), read(b)
	if len(x) != len(y) {
		t.Fatalf("%d entries in %s, %d in %s", len(x), a, len(y), b)
	}
	for p, e := range x {
		if o := y[p]; o.mode != e.mode || o.sum != e.sum || !o.time.Equal(e.time) {
			t.Errorf("%s: %v %v in one, %v %v in the other", p, e.mode, e.time, o.mode, o.time)
		}
	}
}

func TestFilePublishedOnOneNodeArrivesAtAnother(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	b.meet(1)
	src := sample(t, filepath.Join(t.TempDir(), "pos.iso"), 20<<20, 1)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "pos-image", Version: "7.2", Type: "os-image"})
	out := filepath.Join(t.TempDir(), "out.iso")
	got := b.get("pos-image", out)
	sameFile(t, src, out)
	if got.Content != added.Content || got.Version != "7.2" || !got.Verified {
		t.Errorf("got %+v of %+v", got, added)
	}
	if got.From.WAN != 20<<20 || got.From.LAN != 0 {
		t.Errorf("from %+v, want all over the WAN", got.From)
	}
	if w := got.Wasted; w.Corrupt != 0 || w.Duplicate != 0 {
		t.Errorf("wasted %+v", w)
	}
	// Again: nothing is fetched twice.
	again := b.get(added.Content, out)
	if again.From.Total() != 0 || again.Here != 20<<20 {
		t.Errorf("fetched again: %+v", again)
	}
}

func TestTreeArrivesWithModesAndTimes(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "hq")
	src := filepath.Join(t.TempDir(), "tree")
	for i := range 300 {
		dir := filepath.Join(src, "d"+string(rune('a'+i%7)), "sub")
		sample(t, filepath.Join(dir, "f"+string(rune('a'+i%26))+string(rune('a'+i/26))), i*97, uint64(i))
	}
	empty := filepath.Join(src, "empty")
	if err := errors.Join(os.MkdirAll(empty, 0o700), os.Chmod(filepath.Join(src, "da"), 0o555)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(src, "da"), 0o755) })
	when := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	if err := os.Chtimes(empty, when, when); err != nil {
		t.Fatal(err)
	}
	added := a.add(api.AddRequest{Paths: []string{src}})
	out := filepath.Join(t.TempDir(), "out")
	got := b.get(added.Content, out)
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(out, "da"), 0o755) })
	sameTree(t, src, out)
	if got.From.LAN != got.Size {
		t.Errorf("from %+v, want all over the LAN", got.From)
	}
}

func TestThirdNodeFetchesFromBothAndThePublisherMayLeave(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	c := a.join("till-2", "branch")
	b.meet(1)
	c.meet(1)
	src := sample(t, filepath.Join(t.TempDir(), "app.bin"), 8<<20, 2)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "app"})
	b.get("app", filepath.Join(t.TempDir(), "b"))
	until(t, patience, func() bool { return len(c.node.host.Network().Peers()) == 2 })
	a.stop()
	out := filepath.Join(t.TempDir(), "c")
	got := c.get(added.Content, out)
	sameFile(t, src, out)
	if got.From.LAN != 8<<20 {
		t.Errorf("from %+v, want all from the neighbour", got.From)
	}
	if got.Givers != (api.ByLink{LAN: 1}) {
		t.Errorf("given by %+v, want the neighbour", got.Givers)
	}
	for e, want := range map[*endpoint]api.Moved{b: {From: api.ByLink{WAN: 8 << 20}, Sent: 8 << 20}, c: {From: api.ByLink{LAN: 8 << 20}}} {
		st, err := e.node.API().Status(t.Context())
		st.Moved.Wasted = api.Wasted{} // what chance brings
		if err != nil || st.Moved != want || len(st.Flows) != 0 {
			t.Errorf("%s: moved %+v, want %+v; flows %+v (%v)", e.cfg.Name, st.Moved, want, st.Flows, err)
		}
	}
}

func TestUnknownContentIsNotFoundWithWhatWasTried(t *testing.T) {
	t.Parallel() // it mostly waits
	a := start(t, Config{Name: "hq", FirstSource: 500 * time.Millisecond})
	for _, ref := range []string{"bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "no-such-name", "no-such@1.0"} {
		_, err := a.node.API().Get(t.Context(), api.GetRequest{Ref: ref, Output: filepath.Join(t.TempDir(), "x")}, nil)
		e := api.From(err)
		if e.Code != api.NotFound || len(e.Tried) == 0 || e.Next == "" {
			t.Errorf("%s: %s %q, tried %q, next %q", ref, e.Code, e.Message, e.Tried, e.Next)
		}
	}
}

// A version that a name doesn't have is answered with those that it has, by who
// knows them and by who has to ask. Whoever gives a timeout waits for it.
func TestUnknownVersionIsAnsweredWithTheKnownOnes(t *testing.T) {
	t.Parallel() // it mostly waits
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	dir := t.TempDir()
	file := sample(t, filepath.Join(dir, "1"), 1<<20, 70)
	hq.add(api.AddRequest{Paths: []string{file}, Name: "image", Version: "1.0"})
	hq.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(dir, "2"), 1<<20, 71)}, Name: "image", Version: "2.0"})
	for _, e := range []*endpoint{hq, till} {
		_, err := e.node.API().Get(t.Context(), api.GetRequest{Ref: "image@9", Output: filepath.Join(dir, "x")}, nil)
		if e := api.From(err); e.Code != api.NotFound || !strings.HasSuffix(e.Message, "nobody knows version 9 of image: there is 2.0, 1.0") ||
			!strings.Contains(e.Next, "p2pnode get image -o PATH") || len(e.Tried) == 0 {
			t.Errorf("%+v", e)
		}
	}
	out := filepath.Join(dir, "9")
	got := make(chan error, 1)
	go func() {
		_, err := till.node.API().Get(t.Context(), api.GetRequest{Ref: "image@9", Output: out, Timeout: api.Seconds(time.Minute)}, nil)
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("it didn't wait: %v", err)
	case <-time.After(hearOthers + time.Second): // when who isn't patient has given up
	}
	hq.add(api.AddRequest{Paths: []string{file}, Name: "image", Version: "9"})
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	sameFile(t, file, out)
}

func TestNodeGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	src := sample(t, filepath.Join(t.TempDir(), "app.bin"), 3<<20, 3)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "app", Version: "1"})
	a.stop()
	a.run()
	t.Cleanup(a.stop)
	// The same again is said once; another content of that version is refused.
	if again := a.add(api.AddRequest{Paths: []string{src}, Name: "app", Version: "1"}); again.Content != added.Content {
		t.Errorf("added again: %+v", again)
	}
	other := sample(t, filepath.Join(t.TempDir(), "app.bin"), 3<<20, 4)
	if _, err := a.node.API().Add(t.Context(), api.AddRequest{Paths: []string{other}, Name: "app", Version: "1"}, nil); api.From(err).Code != api.Usage {
		t.Errorf("another content of a published version: %v", err)
	}
	if held, err := a.node.API().Contents(t.Context()); err != nil || len(held) != 1 {
		t.Errorf("what was refused was left behind: %d contents, %v", len(held), err)
	}
	second := a.add(api.AddRequest{Paths: []string{other}, Name: "app", Version: "2"})
	out := filepath.Join(t.TempDir(), "out")
	if got := b.get("app", out); got.Content != second.Content || got.Version != "2" {
		t.Errorf("got %+v, want the newest", got)
	}
	sameFile(t, other, out)
	if got := b.get("app@1", filepath.Join(t.TempDir(), "old")); got.Content != added.Content {
		t.Errorf("got %+v, want version 1", got)
	}
}

func TestRevokedNodeIsCutOff(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	b.meet(1)
	m, err := a.node.API().Revoke(t.Context(), "till-1", api.RevokeRequest{Reason: "stolen"})
	if err != nil || m.Revoked == nil {
		t.Fatal(m, err)
	}
	until(t, patience, func() bool { return len(a.node.host.Network().Peers()) == 0 })
	time.Sleep(time.Second) // whether it comes back
	if n := len(a.node.host.Network().Peers()); n != 0 {
		t.Errorf("%d peers after the revocation", n)
	}
}

func TestSourceThatLostItsSessionIsAskedAgain(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	b.meet(1)
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan *exchange.Session)
	s := b.node.newScout(content.Hash{1}, func(ctx context.Context, x *exchange.Session) {
		select {
		case seen <- x:
		case <-ctx.Done():
			return
		}
		select {
		case <-x.Done():
		case <-ctx.Done():
		}
	})
	done := make(chan error, 1)
	s.goFar()
	go func() { done <- s.Run(ctx) }()
	for range 2 { // the connection stays; only the stream ends
		select {
		case x := <-seen:
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("not engaged again")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestContentWithoutAValidReleaseIsNotDelivered(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq", FirstSource: time.Second})
	added := a.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "x"), 1<<20, 8)}, Name: "x"})
	id, err := content.ParseID(added.Content)
	if err != nil {
		t.Fatal(err)
	}
	a.node.catalogue.remove(id) // as if its publisher's releases no longer verified
	_, err = a.node.API().Get(t.Context(), api.GetRequest{Ref: added.Content, Output: filepath.Join(t.TempDir(), "out")}, nil)
	if api.From(err).Code != api.NotFound {
		t.Errorf("delivered without a release: %v", err)
	}
}

func TestDecisionsCanBeRead(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	b := a.join("till-1", "branch")
	added := a.add(api.AddRequest{Paths: []string{sample(t, filepath.Join(t.TempDir(), "x"), 4<<20, 5)}})
	b.get(added.Content, filepath.Join(t.TempDir(), "out"))
	ds, err := b.node.API().Decisions(t.Context(), 1000)
	if err != nil || len(ds) < 4 {
		t.Fatalf("%d decisions, %v", len(ds), err)
	}
	verbs := make(map[string]int)
	for _, d := range ds {
		verbs[d.Verb]++
		if d.Content != added.Content {
			t.Errorf("%+v is about another content", d)
		}
	}
	for _, v := range []string{"join", "ask", "got", "finish"} {
		if verbs[v] == 0 {
			t.Errorf("no %q among %v", v, verbs)
		}
	}
}

// A member whose disk rots, or who lies: it announces what it holds and serves
// other bytes.
func TestWrongBytesAreNotStoredAndTheirSenderIsBanned(t *testing.T) {
	t.Parallel() // it mostly waits
	a := start(t, Config{Name: "hq", Site: "hq"})
	liar := a.join("till-1", "branch")
	src := sample(t, filepath.Join(t.TempDir(), "app.bin"), 24<<20, 6)
	added := a.add(api.AddRequest{Paths: []string{src}, Name: "app"})
	liar.get("app", filepath.Join(t.TempDir(), "copy"))
	spoil(t, filepath.Join(liar.cfg.Data, "store", "content", added.Content, "files", "app.bin"))

	b := a.join("till-2", "branch")
	until(t, patience, func() bool { return len(b.node.host.Network().Peers()) == 2 })

	// At first nobody else is there to be asked.
	a.stop()
	out := filepath.Join(t.TempDir(), "out")
	until(t, patience, func() bool {
		_, err := b.node.API().Get(t.Context(), api.GetRequest{Ref: added.Content, Output: out, Timeout: api.Seconds(3 * time.Second)}, nil)
		if api.From(err).Code != api.TimedOut {
			t.Fatalf("with wrong bytes only: %v", err)
		}
		return !b.node.bans.Banned(liar.node.host.ID()).IsZero()
	})
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was delivered: %v", err)
	}
	came := b.node.fetches.brought()[bandwidth.LAN-1]
	if came.Verified != 0 || came.Corrupt == 0 {
		t.Errorf("from the liar: %+v", came)
	}
	// Two bad blocks end it: what was on its way by then comes too, a window.
	if came.Corrupt > 4<<20 {
		t.Errorf("%d bytes of it were looked at", came.Corrupt)
	}

	a.run()
	t.Cleanup(a.stop)
	got := b.get(added.Content, out)
	sameFile(t, src, out)
	if got.From.LAN != 0 || got.From.WAN != 24<<20 || got.Wasted.Corrupt != 0 {
		t.Errorf("verified bytes from %+v, wasted %+v; want none from the liar", got.From, got.Wasted)
	}
}

// spoil overwrites a file's bytes in place.
func spoil(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	junk := make([]byte, info.Size())
	for i := range junk {
		junk[i] = 0x5a
	}
	if _, err := f.WriteAt(junk, 0); err != nil {
		t.Fatal(err)
	}
}
