package origin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// A Pattern stands for servers that may be asked: one name, all names below a
// domain, or the addresses of a network. The zero Pattern stands for none.
type Pattern struct {
	name  string       // lower case; below a domain: with the dot before it
	addrs netip.Prefix // if it is a network
}

// ParsePattern reads a name (artifacts.example), a domain (.example or *.example),
// an address (10.0.0.5), a network (10.0.0.0/8), or none.
func ParsePattern(text string) (Pattern, error) {
	if text == "none" {
		return Pattern{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return Pattern{addrs: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return Pattern{}, fmt.Errorf("%q: want a network, as 10.0.0.0/8 or fd00::/8", text)
		}
		return Pattern{addrs: p}, nil
	}
	name := strings.ToLower(text)
	if strings.HasPrefix(name, "*.") {
		name = name[1:]
	}
	bare := strings.TrimPrefix(name, ".")
	if len(name) > 253 || slices.Contains(strings.Split(bare, "."), "") || strings.Trim(bare, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return Pattern{}, fmt.Errorf("%q: want the name of a server without scheme, port and path, .DOMAIN, an address, a network, or none", text)
	}
	return Pattern{name: name}, nil
}

// String returns what ParsePattern reads.
func (p Pattern) String() string {
	switch {
	case p.addrs.IsValid() && p.addrs.IsSingleIP():
		return p.addrs.Addr().String()
	case p.addrs.IsValid():
		return p.addrs.String()
	case p.name == "":
		return "none"
	}
	return p.name
}

// An allowance decides which servers are asked: by their addresses in a manifest
// or redirect, and by what their names turn out to be.
type allowance struct {
	only  []Pattern // empty: no list
	proxy func(*http.Request) (*url.URL, error)
	via   net.Dialer

	proxies sync.Map // set of host:port: those that proxy returned
}

// The addresses of machines' metadata in clouds, where their secrets are, that
// aren't link-local.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),          // Amazon
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
	netip.MustParsePrefix("192.0.0.192/32"),         // Oracle, formerly
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
}

// translated is where a network that speaks only IPv6 reaches IPv4 (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// plain returns an address as what it leads to.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// checkRequest returns why a request may not be made, as far as its address says.
func (w *allowance) checkRequest(req *http.Request) error {
	host := hostName(req.URL)
	if a, err := netip.ParseAddr(host); err == nil {
		return w.checkAddr(host, a)
	}
	if len(w.only) == 0 || w.named(host) {
		return nil
	}
	if slices.ContainsFunc(w.only, func(p Pattern) bool { return p.addrs.IsValid() }) {
		if through, err := w.proxy(req); err == nil && through == nil {
			return nil // the name has to be resolved first
		}
	}
	return fmt.Errorf("%w: %s is not listed", ErrNotAllowed, host)
}

// checkAddr returns why a server may not be asked whose name, or address, turned
// out to be a.
func (w *allowance) checkAddr(host string, a netip.Addr) error {
	a = plain(a)
	inside := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.ContainsFunc(metadata, inside):
		return fmt.Errorf("%w: %s is no file server's", ErrNotAllowed, a)
	case slices.ContainsFunc(w.only, func(p Pattern) bool { return inside(p.addrs) }):
		return nil
	case len(w.only) > 0 && !w.named(host):
		return fmt.Errorf("%w: %s is not listed", ErrNotAllowed, a)
	case a.IsLoopback() && !loopback(host):
		return fmt.Errorf("%w: %s is this machine (%s)", ErrNotAllowed, host, a)
	}
	return nil
}

// named reports whether a name is listed.
func (w *allowance) named(host string) bool {
	return slices.ContainsFunc(w.only, func(p Pattern) bool {
		return p.name != "" && (p.name == host || p.name[0] == '.' && strings.HasSuffix(host, p.name))
	})
}

// through returns the proxy for a request, nil for none.
func (w *allowance) through(req *http.Request) (*url.URL, error) {
	if loopback(hostName(req.URL)) {
		return nil, nil // it would be the proxy's machine
	}
	to, err := w.proxy(req)
	if to != nil {
		port := to.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[to.Scheme]
		}
		w.proxies.Store(net.JoinHostPort(to.Hostname(), port), true)
	}
	return to, err
}

// dial connects to a server or a proxy. A server's address is looked at when its
// name has been resolved, for this connection: there is no second answer of the
// DNS that could be another. Proxies are the operator's choice, wherever they are.
func (w *allowance) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := w.via
	if _, ok := w.proxies.Load(address); !ok {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		host = canonical(host)
		d.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return w.checkAddr(host, to.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

// loopback reports whether a name or address says by itself that it is of this
// machine.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && plain(a).IsLoopback()
}

func hostName(u *url.URL) string { return canonical(u.Hostname()) }

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }
