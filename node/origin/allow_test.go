package origin

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/p2pnode/p2pnode/content"
)

func patterns(t testing.TB, texts ...string) (out []Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestPatterns(t *testing.T) {
	for text, want := range map[string]string{
		"artifacts.example": "", "Artifacts.Example": "artifacts.example", "localhost": "", ".example": "", "*.example": ".example", "a_b-c.example": "",
		"10.0.0.5": "", "10.0.0.0/8": "", "fd00::/8": "", "::1": "", "::ffff:10.0.0.5": "10.0.0.5", "none": "", "xn--bcher-kva.example": "",
	} {
		if want == "" {
			want = text
		}
		if p, err := ParsePattern(text); err != nil || p.String() != want {
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "*", "*.", "*example", "a*.example", "..example", "**.example", "a..b", "a.", "http://a", "a:80", "a/path", "bücher.example",
		"10.0.0.5/8", "10.0.0.0/33", "::ffff:10.0.0.0/104", "fe80::1%eth0", strings.Repeat("a", 300),
	} {
		if p, err := ParsePattern(text); err == nil {
			t.Errorf("%q taken as %s", text, p)
		}
	}
}

func TestWhatMayBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(100)
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/leads-away" {
				http.Redirect(w, r, "http://intranet.test/secret", http.StatusFound)
				return
			}
			serves(data, "")(w, r)
		}, Config{Allow: patterns(t, "origin.test", ".files.test", "10.0.0.0/8")})
		defer l.close()
		for address, want := range map[string]error{
			"http://origin.test/file":       nil,
			"http://ORIGIN.test.:8080/file": nil,
			"http://a.b.files.test/file":    nil,
			"http://10.1.2.3/file":          nil,
			"http://192.168.1.1/file":       ErrNotAllowed,
			"http://127.0.0.1/file":         ErrNotAllowed,
			"http://169.254.169.254/":       ErrNotAllowed,
			"http://origin.test/leads-away": nil, // the name has to be resolved first
			"ftp://origin.test/file":        content.ErrFormat,
			"file:///etc/passwd":            content.ErrFormat,
			"http://u:p@origin.test/":       content.ErrFormat,
			"http:///file":                  content.ErrFormat,
		} {
			if _, err := l.get(t.Context(), Resource{URL: address, Size: 100}, 0, 100); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", address, err, want)
			}
			if _, err := l.Probe(t.Context(), address); !errors.Is(err, want) {
				t.Errorf("probe %s: %v, want %v", address, err, want)
			}
		}
		// Without a network in the list, or behind a proxy, names are all there is.
		for name, cfg := range map[string]Config{
			"names": {Allow: patterns(t, "origin.test", ".files.test")},
			"proxy": {Allow: patterns(t, "origin.test", ".files.test", "0.0.0.0/0", "::/0"), Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})},
			"none":  {Allow: patterns(t, "none")},
		} {
			l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/leads-away" {
					http.Redirect(w, r, "http://intranet.test/secret", http.StatusFound)
					return
				}
				serves(data, "")(w, r)
			}, cfg)
			for address, allowed := range map[string]bool{
				"http://origin.test/file": name != "none", "http://origin.test/leads-away": false, "http://a.files.test/": name != "none",
				"http://files.test/": false, "http://xfiles.test/": false, "http://intranet.test/": false, "http://localhost/": false,
				"http://127.1/": false, "http://8.8.8.8/": name == "proxy", "http://169.254.169.254/": false,
			} {
				if _, err := l.Probe(t.Context(), address); errors.Is(err, ErrNotAllowed) == allowed || allowed && err != nil {
					t.Errorf("%s: %s: %v", name, address, err)
				}
			}
			l.close()
		}
	})
}

func TestAddressesThatNoFileServerHas(t *testing.T) {
	var usual allowance
	for address, allowed := range map[string]bool{
		"169.254.169.254": false, "fe80::1%eth0": false, "::ffff:169.254.169.254": false, "169.254.170.2": false,
		"224.0.0.1": false, "0.0.0.0": false, "::": false, "ff02::1": false,
		"fd00:ec2::254": false, "fd00:ec2::23": false, "fd20:ce::254": false, "fd00:c1::a9fe:a9fe": false, "fd00:42::42": false,
		"168.63.129.16": false, "100.100.100.200": false, "192.0.0.192": false,
		"64:ff9b::a9fe:a9fe": false, "64:ff9b::7f00:1": false, "127.0.0.1": false, "127.8.9.1": false, "::1": false, "::ffff:127.0.0.1": false,
		"10.0.0.1": true, "192.168.1.1": true, "172.16.0.1": true, "100.64.0.1": true, "fd00::1": true, "93.184.216.34": true, "2001:db8::1": true,
		"64:ff9b::a00:1": true,
	} {
		if err := usual.checkAddr("name.test", netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	all := allowance{only: patterns(t, "0.0.0.0/0", "::/0")}
	for address, allowed := range map[string]bool{"127.0.0.1": true, "::1": true, "169.254.169.254": false, "fd00:ec2::254": false} {
		if err := all.checkAddr("name.test", netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("where all is listed, %s: %v", address, err)
		}
	}
	// The dialer that is the default asks.
	c, err := New(Config{Proxy: noProxy})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Probe(t.Context(), "http://169.254.169.254/latest/meta-data/"); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("metadata of a cloud: %v", err)
	}
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// resolve has a client look names up with what answer says.
func resolve(c *Client, answer func(name string) netip.Addr) {
	c.allowed.via.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go answerNames(there, answer)
		return here, nil
	}}
}

// answerNames answers questions for names on a connection, until that ends: each
// behind its length, as over TCP.
func answerNames(conn net.Conn, answer func(name string) netip.Addr) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b) != nil {
			return
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		a := answer(strings.TrimSuffix(q.Name.String(), "."))
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: a.As4()}}}
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}}
		}
		if b, _ = m.Pack(); len(b) == 0 {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
			return
		}
	}
}

// A name in a manifest, or in a redirect, that turns out to be this machine's or a
// cloud's is not asked, whatever it was when it was looked up before.
func TestNamesOfThisMachineAreRefused(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/to" {
			http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
			return
		}
		asked.Add(1)
		serves(random(100), "")(w, r)
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]netip.Addr{
		"evil.test": netip.MustParseAddr("127.0.0.1"), "cloud.test": netip.MustParseAddr("169.254.169.254"),
		"six.test": netip.MustParseAddr("::1"), "aws.test": netip.MustParseAddr("fd00:ec2::254"),
	}
	client := func(cfg Config) *Client {
		cfg.Proxy = noProxy
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		resolve(c, func(name string) netip.Addr { return names[name] })
		return c
	}
	c := client(Config{})
	for name := range names {
		address := "http://" + net.JoinHostPort(name, port) + "/file"
		if _, err := c.Probe(t.Context(), address); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Probe(t.Context(), s.URL+"/to?url="+url.QueryEscape(address)); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("redirected to %s: %v", name, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests came", n)
	}
	// What says that it is this machine is asked, and what an operator lists.
	if _, err := c.Probe(t.Context(), s.URL+"/file"); err != nil {
		t.Error(err)
	}
	address := "http://" + net.JoinHostPort("evil.test", port) + "/file"
	if _, err := client(Config{Allow: patterns(t, "127.0.0.0/8")}).Probe(t.Context(), address); err != nil {
		t.Errorf("in a network that is listed: %v", err)
	}
	if _, err := client(Config{Allow: patterns(t, "evil.test")}).Probe(t.Context(), address); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("listed by name: %v", err)
	}
	if _, err := client(Config{Allow: patterns(t, "10.0.0.0/8")}).Probe(t.Context(), address); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("in a network that isn't listed: %v", err)
	}
}

// The proxy may be on this machine under any name, and isn't asked for this
// machine: it would give what is on its own.
func TestProxyMayBeAnywhere(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		serves(random(100), "")(w, r)
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: net.JoinHostPort("proxy.test", port)})})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resolve(c, func(string) netip.Addr { return netip.MustParseAddr("127.0.0.1") })
	for _, address := range []string{"http://origin.test/file", s.URL + "/direct"} {
		if _, err := c.Probe(t.Context(), address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if len(asked) != 2 || asked[0] != "http://origin.test/file" || asked[1] != "/direct" {
		t.Errorf("asked for %q", asked)
	}
}

// What a node can reach on its own machine is nothing to a server elsewhere.
func TestRedirectsToThisMachineAreRefused(t *testing.T) {
	for _, to := range []string{"http://127.0.0.1:4741/x", "http://localhost/x", "http://a.localhost./x", "http://[::1]/x", "http://[::ffff:127.0.0.1]/x"} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				http.Redirect(w, r, to, http.StatusFound)
			}, Config{})
			defer l.close()
			if _, err := l.Client.Probe(t.Context(), "http://host.test/file"); !errors.Is(err, ErrRedirect) || asked != 1 {
				t.Errorf("to %s: %v, after %d requests", to, err, asked)
			}
		})
	}
}
