package site

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// A Source is where a node has its site from.
type Source uint8

// The sources, weakest first.
const (
	FromSubnet Source = iota
	FromCredential
	FromMap
	FromConfig
)

func (s Source) String() string {
	switch s {
	case FromSubnet:
		return "subnet"
	case FromCredential:
		return "credential"
	case FromMap:
		return "map"
	case FromConfig:
		return "config"
	}
	return fmt.Sprintf("source %d", uint8(s))
}

// Claims are what may say at which site a node is.
type Claims struct {
	// Config is the site from the node's configuration; empty for none.
	Config string
	// Map is the enterprise's map of its networks; the zero value for none.
	Map Map
	// Credential is the site for which the node was admitted; empty for none.
	Credential string
	// Addrs has the node's own addresses, each with its prefix, the one of the
	// default route first.
	Addrs []netip.Prefix
}

// Lonely is the site of a node that nothing places: without a network it is alone.
const Lonely = "offline"

// Resolve returns the site of a node and what says so: the strongest claim.
func Resolve(c Claims) (id string, from Source) {
	if c.Config != "" {
		return c.Config, FromConfig
	}
	if id, ok := c.Map.Of(c.Addrs); ok {
		return id, FromMap
	}
	if c.Credential != "" {
		return c.Credential, FromCredential
	}
	return subnet(c.Addrs), FromSubnet
}

// subnet names a site after the network of the first address that is worth it:
// 10.1.2.0-24, or fd00-1-0-0-0-0-0-0-64.
func subnet(addrs []netip.Prefix) string {
	i := slices.IndexFunc(addrs, func(p netip.Prefix) bool { return places(p.Addr()) })
	if i < 0 {
		return Lonely
	}
	p := addrs[i].Masked()
	host := p.Addr().String()
	if p.Addr().Is6() {
		b := p.Addr().As16()
		var parts []string
		for i := 0; i < len(b); i += 2 {
			parts = append(parts, fmt.Sprintf("%x", uint16(b[i])<<8|uint16(b[i+1])))
		}
		host = strings.Join(parts, "-")
	}
	return fmt.Sprintf("%s-%d", host, p.Bits())
}

// places reports whether an address says anything about where a machine is.
func places(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified()
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// checkID returns an error unless s has the form of a site's id: that of
// trust.CheckSite.
func checkID(s string) error {
	if !idForm.MatchString(s) {
		return fmt.Errorf("site %q: want 1 to 63 of a-z 0-9 . _ - starting with a letter or digit", s)
	}
	return nil
}
