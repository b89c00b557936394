package node

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func somePeer(t testing.TB) peer.ID {
	t.Helper()
	_, pub, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestPeerBookSurvivesARestartAndDamage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers")
	b := openBook(file)
	a1, a2 := somePeer(t), somePeer(t)
	addr := ma.StringCast("/ip4/10.0.0.7/tcp/4740")
	b.met(a1, []ma.Multiaddr{addr}, time.Unix(100, 0))
	b.met(a2, []ma.Multiaddr{addr, ma.StringCast("/ip4/10.0.0.7/udp/4740/quic-v1")}, time.Unix(200, 0))
	b.met(somePeer(t), nil, time.Unix(300, 0)) // nowhere to be found
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("12 nonsense\n\x00\xff\n"), raw...), 0o600); err != nil {
		t.Fatal(err)
	}
	got := openBook(file).peers()
	if len(got) != 2 || got[0].ID != a2 || got[1].ID != a1 || len(got[0].Addrs) != 2 {
		t.Fatalf("read %v", got)
	}
}

func TestPeerBookForgetsTheLongestUnseen(t *testing.T) {
	b := openBook(filepath.Join(t.TempDir(), "peers"))
	first := somePeer(t)
	b.met(first, []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.7/tcp/1")}, time.Unix(1, 0))
	for i := range maxBook {
		b.met(somePeer(t), []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/10.0.0.7/tcp/%d", i+2))}, time.Unix(int64(i+2), 0))
	}
	all := b.peers()
	if len(all) != maxBook {
		t.Fatalf("%d members kept, want %d", len(all), maxBook)
	}
	for _, p := range all {
		if p.ID == first {
			t.Error("the longest unseen was kept")
		}
	}
}

func FuzzPeerBookLine(f *testing.F) {
	f.Add("100 " + somePeer(f).String() + " /ip4/10.0.0.7/tcp/4740 /ip6/fd00::1/udp/4740/quic-v1")
	f.Add("1 2 3")
	f.Fuzz(func(t *testing.T, line string) {
		if len(line) > maxBookLine {
			return // the reader stops there
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e, ok := parseBookLine(line)
		runtime.ReadMemStats(&after)
		// A multiaddr's parts take several times their text.
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(64*len(line)+64<<10); got > limit {
			t.Fatalf("%d bytes for a line of %d", got, len(line))
		}
		if !ok {
			return
		}
		if back, ok := parseBookLine(e.line()); !ok || back.line() != e.line() {
			t.Fatalf("%q came back as %q", e.line(), back.line())
		}
	})
}
