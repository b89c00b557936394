//go:build linux

package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// aria2 delivers by BitTorrent, which is aria2's best for many on one LAN: each piece
// is checked by SHA-1, nothing is encrypted. Everybody learns of everybody from a
// tracker beside the source, peers that have all go on to serve, as nodes do. Nothing
// is flushed to disk.
type aria2 struct {
	f        *field
	programs programs
	torrent  string // path
}

const (
	rawTracker = "raw-tracker" // says at which address it listens, serves until it is killed

	// torrentPiece is what 1 GiB is cut into by common programs, about 1,000 pieces.
	torrentPiece = 1 << 20
)

func (a *aria2) offer(ctx context.Context, path string) error {
	a.programs.begin(ctx)
	addr, err := a.programs.says(a.f.from, rawTracker)
	if err != nil {
		return fmt.Errorf("aria2: the tracker: %w", err)
	}
	a.torrent = path + ".torrent"
	if err := writeTorrent(a.torrent, path, "http://"+addr+"/announce"); err != nil {
		return err
	}
	// What it has is what was just hashed: it needn't be hashed again.
	if err := a.run(a.f.from, filepath.Dir(path), "--bt-seed-unverified=true"); err != nil {
		return err
	}
	return sleep(ctx, time.Second) // until the tracker knows it
}

// run starts aria2 at a node, which goes on until end.
func (a *aria2) run(n box.Node, dir string, flags ...string) error {
	return a.programs.start(n, nil, append([]string{
		"aria2c", "--no-conf=true", "--quiet=true", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
		"--enable-peer-exchange=true", "--bt-max-peers=0", "--seed-ratio=0.0", "--file-allocation=none", "--disk-cache=64M",
		"--bt-request-peer-speed-limit=10000M", "--bt-tracker-interval=5", "--follow-torrent=mem", "--check-certificate=false",
		"--listen-port=6881", "--dir=" + dir,
	}, append(flags, a.torrent)...)...)
}

func (a *aria2) get(ctx context.Context, to box.Node, out string) error {
	dir, done := to.Path("aria2"), to.Path("aria2-done")
	a.programs.remove(dir, done, done+".sh")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(done+".sh", fmt.Appendf(nil, "#!/bin/sh\n: >%s\n", done), 0o755); err != nil {
		return err
	}
	if err := a.run(to, dir, "--on-bt-download-complete="+done+".sh"); err != nil {
		return err
	}
	if err := a.programs.appears(ctx, done); err != nil {
		return fmt.Errorf("%s: aria2: %w", to.Name(), err)
	}
	return os.Link(filepath.Join(dir, strings.TrimSuffix(filepath.Base(a.torrent), ".torrent")), out)
}

func (a *aria2) here(context.Context, box.Node, string) (int64, error) {
	return 0, errors.ErrUnsupported
}
func (a *aria2) crash(context.Context, box.Node) error              { return errors.ErrUnsupported }
func (a *aria2) usage(context.Context) (usage, error)               { return a.programs.usage() }
func (a *aria2) fetched(context.Context, box.Node) (fetched, error) { return fetched{}, nil }

func (a *aria2) end() error { return a.programs.end() }

// writeTorrent writes the metainfo of a file (BEP 3).
func writeTorrent(to, path, tracker string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var pieces []byte
	for {
		h := sha1.New()
		n, err := io.Copy(h, io.LimitReader(f, torrentPiece))
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		pieces = h.Sum(pieces)
	}
	text := fmt.Sprintf("d8:announce%d:%s4:infod6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%see",
		len(tracker), tracker, info.Size(), len(info.Name()), info.Name(), torrentPiece, len(pieces), pieces)
	return os.WriteFile(to, []byte(text), 0o644)
}

// A tracker tells everybody who asks of everybody who asked before (BEP 3, BEP 23).
type tracker struct {
	mu    sync.Mutex
	peers []string // 6 bytes each
}

func (t *tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	var peer []byte
	for part := range strings.SplitSeq(host, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			http.Error(w, "IPv4 only", http.StatusBadRequest)
			return
		}
		peer = append(peer, byte(n))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	port, perr := strconv.ParseUint(query.Get("port"), 10, 16)
	if err != nil || perr != nil || len(peer) != 4 {
		http.Error(w, "no port", http.StatusBadRequest)
		return
	}
	me := string(append(peer, byte(port>>8), byte(port)))
	t.mu.Lock()
	defer t.mu.Unlock()
	var others strings.Builder
	known := false
	for _, p := range t.peers {
		if p == me {
			known = true
			continue
		}
		others.WriteString(p)
	}
	if !known {
		t.peers = append(t.peers, me)
	}
	fmt.Fprintf(w, "d8:intervali5e5:peers%d:%se", others.Len(), others.String())
}

func track(ctx context.Context, _ []string) error {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	addr, err := ownAddr()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: &tracker{}}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Println(netip.AddrPortFrom(addr, uint16(l.Addr().(*net.TCPAddr).Port)))
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
