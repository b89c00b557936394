package origin

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// maxRedirects is how many times an answer may lead elsewhere.
const maxRedirects = 5

// A Client fetches from HTTP servers. Its methods may be called by many at once.
type Client struct {
	cfg       Config
	allowed   *allowance
	http      *http.Client
	transport *http.Transport
	rests     rests

	mu    sync.Mutex
	hosts map[string]*host // those that are asked now
}

// A host is a server that is being asked.
type host struct {
	slots chan struct{} // cap is Config.PerHost
	users int           // who has a slot or waits for one
}

// New returns a client. Close gives back what it holds.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, allowed: &allowance{only: cfg.Allow, proxy: cfg.Proxy}, hosts: make(map[string]*host)}
	dial := cfg.Dial
	if dial == nil {
		dial = c.allowed.dial
	}
	c.rests.by = make(map[string]*rest)
	// HTTP/1.1 only: what a part waits for is held back by TCP. HTTP/2 would
	// take 4 MiB of each into memory, and lose all of them with one connection.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	c.transport = &http.Transport{
		Proxy:                  c.allowed.through,
		DialContext:            dial,
		TLSClientConfig:        tlsConfig(cfg.TLS),
		DisableCompression:     true,
		MaxIdleConnsPerHost:    cfg.PerHost,
		MaxIdleConns:           64,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: maxHeaders,
		ReadBufferSize:         32 << 10,
		Protocols:              protocols,
	}
	c.http = &http.Client{Transport: c.transport, CheckRedirect: c.redirect}
	return c, nil
}

func tlsConfig(c *tls.Config) *tls.Config {
	if c == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return c.Clone()
}

// Close gives back idle connections. Parts under way end with their contexts.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// redirect decides whether to follow.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d times", ErrRedirect, maxRedirects)
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: from https to %s", ErrRedirect, req.URL.Scheme)
	case content.CheckURL(withoutFragment(req.URL)) != nil:
		return fmt.Errorf("%w: to %s", ErrRedirect, place(req.URL))
	case loopback(hostName(req.URL)) && !loopback(hostName(from)): // a server elsewhere knows nothing of this machine
		return fmt.Errorf("%w: from %s to this machine", ErrRedirect, from.Host)
	}
	req.Header.Del("Referer")
	return c.allowed.checkRequest(req)
}

func withoutFragment(u *url.URL) string {
	v := *u
	v.Fragment, v.RawFragment = "", ""
	return v.String()
}

// place writes an address for people, without its query, which may hold secrets.
func place(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Host returns the server of an address, which content.CheckURL has taken: name
// and port.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// An answer is a response whose body is still to be read.
type answer struct {
	*http.Response
	ctx    context.Context // of the request: ends with the caller's, or by a watchdog
	cancel context.CancelCauseFunc
}

func (a *answer) close() {
	a.Body.Close() // without reading on: what comes is of no use
	a.cancel(nil)
}

// ask sends a GET and returns the answer when its headers are here. The caller
// closes it.
func (c *Client) ask(ctx context.Context, address string, header http.Header) (*answer, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if err := c.allowed.checkRequest(req); err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "p2pnode") // not which one, nor where
	req.Header.Set("Accept-Encoding", "identity")

	ctx, cancel := context.WithCancelCause(ctx)
	watchdog := time.AfterFunc(c.cfg.FirstByte, func() {
		cancel(fmt.Errorf("%w: no answer in %v", ErrSlow, c.cfg.FirstByte))
	})
	resp, err := c.http.Do(req.WithContext(ctx))
	watchdog.Stop()
	if err != nil {
		err = explain(ctx, err)
		cancel(nil)
		return nil, err
	}
	return &answer{Response: resp, ctx: ctx, cancel: cancel}, nil
}

// slot waits for the right to ask the server of an address something.
func (c *Client) slot(ctx context.Context, address string) (free func(), err error) {
	name := Host(address)
	c.mu.Lock()
	h := c.hosts[name]
	if h == nil {
		h = &host{slots: make(chan struct{}, c.cfg.PerHost)}
		c.hosts[name] = h
	}
	h.users++
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(c.hosts, name)
		}
	}
	select {
	case h.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-h.slots; leave() }), nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
