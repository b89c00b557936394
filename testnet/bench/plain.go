//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// What the program is called as its own child: the two ends of what everybody
// knows, a file server and a client that checks what it got.
const (
	rawHTTPServe = "raw-http-serve" // FILE: says at which address it listens, serves until it is killed
	rawHTTPFetch = "raw-http-fetch" // URL OUT SIZE SHA256: tells its peak of memory
)

const (
	// A client that gets nothing for so long connects anew and asks for the rest.
	// Without it, what TCP does on a link that was down for a while (it waits longer
	// from try to try, RFC 6298 section 5.5) would be measured.
	httpStall = 5 * time.Second
	httpPause = time.Second // before it tries again
)

func rawHTTP(ctx context.Context, args []string) error {
	switch {
	case args[0] == rawHTTPServe && len(args) == 2:
		return serveHTTP(ctx, args[1])
	case args[0] == rawHTTPFetch && len(args) == 5:
		size, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		d := download{url: args[1], out: args[2], size: size, digest: args[4], stall: httpStall, pause: httpPause}
		if err := d.run(ctx); err != nil {
			return err
		}
		u, err := scenario.UsageOf(os.Getpid())
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(u)
	}
	return fmt.Errorf("%s: wrong arguments", args[0])
}

func serveHTTP(ctx context.Context, path string) error {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	addr, err := ownAddr()
	if err != nil {
		return err
	}
	fmt.Println(netip.AddrPortFrom(addr, uint16(l.Addr().(*net.TCPAddr).Port)))
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ownAddr returns the address of the one network interface that a machine of the box
// has.
func ownAddr() (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this machine has no address")
}

// A download brings a file, whatever happens to the link, and goes on where an
// earlier one ended.
type download struct {
	url, out string
	size     int64
	digest   string // SHA-256, in hex
	stall    time.Duration
	pause    time.Duration

	file *os.File
	sum  hash.Hash
	here int64
}

func (d *download) run(ctx context.Context) (err error) {
	if d.file, err = os.OpenFile(d.out, os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.file.Close()) }()
	d.sum = sha256.New()
	if d.here, err = io.Copy(d.sum, d.file); err != nil {
		return err
	}
	for d.here < d.size {
		err := d.ask(ctx)
		if err == nil {
			continue
		}
		if errors.As(err, new(final)) {
			return err
		}
		if err := sleep(ctx, d.pause); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.digest {
		return fmt.Errorf("get %s: %d bytes with SHA-256 %s, want %s", d.url, d.here, got, d.digest)
	}
	return d.file.Sync() // as our nodes do
}

// A final error is one that asking again doesn't mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// direct asks whom it is told to ask, whatever HTTP_PROXY says.
var direct = &http.Client{Transport: &http.Transport{}}

// ask makes one request for what is missing.
func (d *download) ask(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(d.stall, cancel)
	defer watch.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return err
	}
	want := http.StatusOK
	if d.here > 0 {
		want = http.StatusPartialContent
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.here))
	}
	a, err := direct.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != want {
		return final{fmt.Errorf("get %s: %s", d.url, a.Status)}
	}
	for buf := make([]byte, 256<<10); ; {
		n, err := a.Body.Read(buf)
		watch.Reset(d.stall)
		if _, err := d.file.Write(buf[:n]); err != nil {
			return final{err}
		}
		_, _ = d.sum.Write(buf[:n]) // never fails
		d.here += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// plain delivers by HTTP.
type plain struct {
	from   box.Node
	url    string
	size   int64
	digest string
	server *exec.Cmd

	mu   sync.Mutex
	peak int64 // of the clients so far
}

func (p *plain) offer(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	p.size = info.Size()
	if p.digest, err = scenario.Digest(path); err != nil {
		return err
	}
	p.server = p.from.Tool(ctx, rawHTTPServe, path)
	p.server.Stderr = os.Stderr
	out, err := p.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("plain HTTP: the server doesn't listen: %w", errors.Join(err, p.end()))
	}
	p.url = fmt.Sprintf("http://%s/", strings.TrimSpace(addr))
	return nil
}

func (p *plain) get(ctx context.Context, to box.Node, out string) error {
	text, err := to.Tool(ctx, rawHTTPFetch, p.url, out, strconv.FormatInt(p.size, 10), p.digest).Output()
	if err != nil {
		exit := new(exec.ExitError)
		errors.As(err, &exit)
		return fmt.Errorf("%s: plain HTTP: %w: %s", to.Name(), err, exit.Stderr)
	}
	var u scenario.Usage
	if err := json.Unmarshal(text, &u); err != nil {
		return fmt.Errorf("%s: plain HTTP: %w", to.Name(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = max(p.peak, u.PeakRSS)
	return nil
}

func (p *plain) here(_ context.Context, _ box.Node, out string) (int64, error) {
	info, err := os.Stat(out)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// crash does nothing: the client was the get itself.
func (p *plain) crash(context.Context, box.Node) error { return nil }

func (p *plain) usage(context.Context) (usage, error) {
	u, err := scenario.UsageOf(p.server.Process.Pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	return usage{cpu: u.CPU, peak: max(p.peak, u.PeakRSS)}, err
}

func (p *plain) fetched(context.Context, box.Node) (fetched, error) { return fetched{}, nil }

func (p *plain) end() error {
	if p.server == nil {
		return nil
	}
	err := p.server.Process.Kill()
	_ = p.server.Wait() // killed
	p.server = nil
	return err
}
