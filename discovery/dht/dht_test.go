package dht

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// goleveldb ends this one a second after Close.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
		// goleveldb forgets this one when it fails to open a database.
		goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb/util.(*BufferPool).drain"),
	)
}

// A member is a host with its part in the DHT, running.
type member struct {
	*DHT
	host  host.Host
	bytes *byteCount
}

// A byteCount counts what all streams of a host carry. (libp2p's own counter
// shows it a second late.)
type byteCount struct {
	metrics.Reporter
	n atomic.Int64
}

func (b *byteCount) LogSentMessage(n int64)                           { b.n.Add(n) }
func (b *byteCount) LogRecvMessage(n int64)                           { b.n.Add(n) }
func (b *byteCount) LogSentMessageStream(int64, protocol.ID, peer.ID) {}
func (b *byteCount) LogRecvMessageStream(int64, protocol.ID, peer.ID) {}

func (m *member) info() peer.AddrInfo { return peer.AddrInfo{ID: m.host.ID(), Addrs: m.host.Addrs()} }

func (m *member) connect(t *testing.T, o *member) {
	t.Helper()
	eventually(t, "connected", func() bool { return m.host.Connect(t.Context(), o.info()) == nil })
}

func newMember(t *testing.T, cfg Config) *member {
	t.Helper()
	bytes := new(byteCount)
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.BandwidthReporter(bytes),
		libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery(),
	)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Enterprise = "acme"
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	d, err := New(h, cfg, zap.NewNop())
	if err != nil {
		h.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ran, d.Close(), d.Close(), h.Close()); err != nil {
			t.Error(err)
		}
	})
	return &member{d, h, bytes}
}

// many is a network in which not everybody knows everybody.
func many() int {
	if raced {
		return 8
	}
	return 20
}

// startServers starts n servers, all of which know the first.
func startServers(t *testing.T, n int) []*member {
	t.Helper()
	var ms []*member
	for i := range n {
		ms = append(ms, newMember(t, Config{Server: true}))
		if i > 0 {
			ms[i].connect(t, ms[0])
		}
	}
	return ms
}

func testKeys(seed uint32, n int) []content.Hash {
	keys := make([]content.Hash, n)
	for i := range keys {
		keys[i] = content.Sum(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, seed), uint32(i)))
	}
	return keys
}

// holders returns who d finds for key.
func holders(t *testing.T, d *DHT, key content.Hash) []peer.ID {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []peer.ID
	for ai := range d.Find(ctx, key) {
		if slices.Contains(ids, ai.ID) {
			t.Errorf("%s found twice", ai.ID)
		}
		ids = append(ids, ai.ID)
	}
	return ids
}

// patience is how long a test waits for what must come, on a machine that may be
// busy with other tests.
const patience = time.Minute

// eventually waits until ok holds, and returns how long that took.
func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > patience {
			t.Fatalf("not after %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

func (m *member) told(t *testing.T) int64 {
	st, err := m.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Told
}

func TestEveryContentIsFoundInNetworksOfAnySize(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5, many()} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			ms := startServers(t, n)
			keys := testKeys(uint32(n), 100)
			for i, k := range keys {
				if err := ms[i%n].Announce(k); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			for i, k := range keys {
				want := ms[i%n].host.ID()
				asks := ms[(i+1+i/n)%n]
				if asks == ms[i%n] {
					asks = ms[(i+1)%n]
				}
				eventually(t, "a content is found by another node", func() bool {
					return slices.Contains(holders(t, asks.DHT, k), want)
				})
			}
			t.Logf("%d nodes: 100 of 100 contents found %v after they were announced", n, time.Since(start).Round(time.Millisecond))
		})
	}
}

func TestTenThousandChunksAreAnnouncedCheaply(t *testing.T) {
	t.Parallel()
	const (
		maxBytes = 5_000            // per key, in and out
		maxTime  = 30 * time.Second // the goal is 10; a machine at rest takes one, this bounds a busy one
	)
	n := 10_000
	if raced {
		n = 1_000
	}
	ms := startServers(t, many())
	from := ms[7]
	eventually(t, "the announcer is live", func() bool {
		from.mu.Lock()
		defer from.mu.Unlock()
		return from.live
	})
	before := from.bytes.n.Load()
	keys := testKeys(1, n)
	start := time.Now()
	if err := from.Announce(keys...); err != nil {
		t.Fatal(err)
	}
	noted := time.Since(start)
	eventually(t, "all keys were told", func() bool { return from.told(t) >= int64(n) })
	took := time.Since(start)
	each := float64(from.bytes.n.Load()-before) / float64(n)
	t.Logf("noted in %v, told in %v, %.0f bytes per key", noted.Round(time.Millisecond), took.Round(time.Millisecond), each)
	if took > maxTime && !raced {
		t.Errorf("took %v, more than %v", took, maxTime)
	}
	if each > maxBytes {
		t.Errorf("%.0f bytes per key, more than %d", each, maxBytes)
	}
	if told := from.told(t); told > int64(n) {
		t.Errorf("%d keys were told as %d: some twice", n, told)
	}
	for _, k := range keys[:100] {
		eventually(t, "a key is found", func() bool { return slices.Contains(holders(t, ms[3].DHT, k), from.host.ID()) })
	}
}

func TestKeysAnnouncedAloneAreToldWhenAPeerComes(t *testing.T) {
	t.Parallel()
	alone := newMember(t, Config{Server: true})
	keys := testKeys(2, 100)
	if err := alone.Announce(keys...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // kad-dht alone would be at waits of 1.6 s by now
	if st, err := alone.Stats(t.Context()); err != nil || st.Online || st.Keys != 100 || st.Told != 0 {
		t.Fatalf("alone: %+v, %v", st, err)
	}
	t.Run("a peer comes", func(t *testing.T) {
		newMember(t, Config{Server: true}).connect(t, alone)
		took := eventually(t, "keys were told", func() bool { return alone.told(t) >= 100 })
		t.Logf("told %v after the first peer came", took.Round(time.Millisecond))
		if told := alone.told(t); told != 100 {
			t.Errorf("100 keys were told as %d", told)
		}
	})
	// The peer has gone. What is announced now is told when another one comes.
	if err := alone.Announce(testKeys(3, 100)...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node notices that it is alone", func() bool { return !alone.reached.Load() })
	if got := alone.told(t); got != 100 {
		t.Fatalf("%d keys told while alone", got-100)
	}
	newMember(t, Config{Server: true}).connect(t, alone)
	took := eventually(t, "later keys were told", func() bool { return alone.told(t) >= 200 })
	t.Logf("told %v after another peer came", took.Round(time.Millisecond))
}

func TestAnnouncedKeysSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, gone := testKeys(4, 50), testKeys(5, 50)
	t.Run("before", func(t *testing.T) {
		m := newMember(t, Config{Server: true, Dir: dir})
		if err := m.Announce(append(slices.Clone(keys), gone...)...); err != nil {
			t.Fatal(err)
		}
		if err := m.Withdraw(gone...); err != nil {
			t.Fatal(err)
		}
	})
	again := newMember(t, Config{Server: true, Dir: dir})
	other := newMember(t, Config{Server: true})
	other.connect(t, again)
	eventually(t, "keys of the run before were told", func() bool { return again.told(t) >= 50 })
	for _, k := range keys {
		eventually(t, "a key is found after the restart", func() bool { return slices.Contains(holders(t, other.DHT, k), again.host.ID()) })
	}
	for _, k := range gone {
		if ps, err := other.kad.ProviderStore().GetProviders(t.Context(), k.Multihash()); err != nil || len(ps) != 0 {
			t.Errorf("%s was withdrawn and told nevertheless: %v, %v", k, ps, err)
		}
	}
}

func TestOnlyWhatIsRetainedIsAnnouncedOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, gone := testKeys(6, 50), testKeys(7, 50)
	announced := func(m *member) int {
		st, err := m.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Keys
	}
	t.Run("before", func(t *testing.T) {
		m := newMember(t, Config{Dir: dir})
		if err := m.Announce(append(slices.Clone(keys), gone...)...); err != nil {
			t.Fatal(err)
		}
	})
	again := newMember(t, Config{Dir: dir})
	if n := announced(again); n != 100 {
		t.Fatalf("%d keys are announced after the restart", n)
	}
	if err := again.Retain(t.Context(), func(k content.Hash) bool { return slices.Contains(keys, k) }); err != nil {
		t.Fatal(err)
	}
	if n := announced(again); n != 50 {
		t.Errorf("%d keys are announced, want the 50 to keep", n)
	}
	if err := again.Withdraw(keys...); err != nil {
		t.Fatal(err)
	}
	if n := announced(again); n != 0 {
		t.Errorf("%d others were kept", n)
	}
}

func TestOneServerAloneAnswersItsClients(t *testing.T) {
	t.Parallel()
	server := newMember(t, Config{Server: true})
	client := newMember(t, Config{Bootstrap: func() []peer.AddrInfo { return []peer.AddrInfo{server.info()} }})
	keys := testKeys(6, 10)
	if err := errors.Join(server.Announce(keys[:5]...), client.Announce(keys[5:]...)); err != nil {
		t.Fatal(err)
	}
	third := newMember(t, Config{})
	third.connect(t, server)
	for i, k := range keys {
		want := server.host.ID()
		if i >= 5 {
			want = client.host.ID()
		}
		eventually(t, "the only server's answer", func() bool {
			return slices.Contains(holders(t, third.DHT, k), want)
		})
	}
	if n := server.kad.RoutingTable().Size(); n != 0 {
		t.Errorf("%d clients are in the server's routing table", n)
	}
}

func TestRefreshTurnsToTheBootstrapPeers(t *testing.T) {
	t.Parallel()
	server := newMember(t, Config{Server: true})
	var known atomic.Pointer[peer.AddrInfo] // none at first
	client := newMember(t, Config{Bootstrap: func() []peer.AddrInfo {
		if ai := known.Load(); ai != nil {
			return []peer.AddrInfo{*ai}
		}
		return nil
	}})
	info := server.info()
	known.Store(&info)
	_ = client.Refresh(t.Context()) // fails while the table is empty; the dial counts
	if c := client.host.Network().Connectedness(server.host.ID()); c != network.Connected {
		t.Fatalf("the bootstrap peer is %v", c)
	}
	eventually(t, "the server is known", func() bool { return client.kad.RoutingTable().Size() == 1 })
	if err := client.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFindEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ms := startServers(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for ai := range ms[0].Find(ctx, content.Sum(nil)) {
		t.Errorf("found %v", ai)
	}
	if err := ms[1].Announce(content.Sum(nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a caller can stop at the first", func() bool {
		for range ms[2].Find(t.Context(), content.Sum(nil)) {
			return true
		}
		return false
	})
}

func TestDamagedRecordsAreDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := openStore(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(dir, zap.NewNop()); err == nil {
		t.Fatal("opened twice")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("MANIFEST-999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err = openStore(dir, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{Dir: "d"}, {Enterprise: "acme"}, {Enterprise: "Acme/kad", Dir: "d"}} {
		if _, err := New(nil, cfg, zap.NewNop()); err == nil {
			t.Errorf("%+v passed", cfg)
		}
	}
}

func TestOwnAddressesThatLeadNowhereAreLeftOut(t *testing.T) {
	lo, ll, lan := ma.StringCast("/ip4/127.0.0.1/tcp/1"), ma.StringCast("/ip6/fe80::1/tcp/1"), ma.StringCast("/ip4/10.0.0.1/tcp/1")
	for _, c := range []struct{ in, want []ma.Multiaddr }{
		{[]ma.Multiaddr{lo, ll, lan}, []ma.Multiaddr{lan}},
		{[]ma.Multiaddr{lo}, []ma.Multiaddr{lo}},
		{nil, nil},
	} {
		if got := dialable(c.in); !sameAddrs(got, c.want) {
			t.Errorf("%v: %v", c.in, got)
		}
	}
}
