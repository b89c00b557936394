package site

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits of a map.
const (
	maxMap      = 48 << 10 // bytes: within a signed envelope
	maxNetworks = 4096
	maxMapLine  = 256
)

// ErrMap is wrapped by what is wrong with a map.
var ErrMap = errors.New("not a map of sites")

// A Map says which networks of the enterprise belong to which site. The zero value
// is empty.
type Map struct {
	networks []stretch // longest prefix first
}

type stretch struct {
	prefix netip.Prefix
	site   string
}

// ParseMap reads a map: a line for each network, "10.1.0.0/16 berlin"; a # begins a
// comment. A network stands there once, and with no bits set beyond its length: what
// looks like a slip of the hand would send a site's traffic over the WAN.
func ParseMap(text []byte) (Map, error) {
	if len(text) > maxMap {
		return Map{}, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrMap, len(text), maxMap)
	}
	var m Map
	seen := make(map[netip.Prefix]int)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxMapLine)
	n := 0
	for lines.Scan() {
		n++
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return Map{}, fmt.Errorf("%w: line %d: want a network and a site, like 10.1.0.0/16 berlin", ErrMap, n)
		}
		p, err := netip.ParsePrefix(words[0])
		if err != nil {
			return Map{}, fmt.Errorf("%w: line %d: %q is no network: want ADDRESS/LENGTH, like 10.1.0.0/16", ErrMap, n, words[0])
		}
		if p != p.Masked() {
			return Map{}, fmt.Errorf("%w: line %d: %s has bits beyond its length: did you mean %s?", ErrMap, n, p, p.Masked())
		}
		if p.Addr().Is4In6() {
			return Map{}, fmt.Errorf("%w: line %d: %s: write an IPv4 network as such", ErrMap, n, p)
		}
		if err := checkID(words[1]); err != nil {
			return Map{}, fmt.Errorf("%w: line %d: %w", ErrMap, n, err)
		}
		if first, twice := seen[p]; twice {
			return Map{}, fmt.Errorf("%w: line %d: %s stands in line %d already", ErrMap, n, p, first)
		}
		if len(m.networks) == maxNetworks {
			return Map{}, fmt.Errorf("%w: line %d: more than %d networks", ErrMap, n, maxNetworks)
		}
		seen[p] = n
		m.networks = append(m.networks, stretch{p, words[1]})
	}
	if err := lines.Err(); err != nil {
		return Map{}, fmt.Errorf("%w: line %d: longer than %d bytes", ErrMap, n+1, maxMapLine)
	}
	slices.SortStableFunc(m.networks, func(a, b stretch) int { return b.prefix.Bits() - a.prefix.Bits() })
	return m, nil
}

// Of returns the site of a node with these addresses: that of the longest prefix
// which holds one of them; among equals that of the first address.
func (m Map) Of(addrs []netip.Prefix) (site string, ok bool) {
	longest := -1
	for _, a := range addrs {
		ip := a.Addr().Unmap()
		if !places(ip) {
			continue
		}
		for _, n := range m.networks {
			if n.prefix.Bits() <= longest {
				break
			}
			if n.prefix.Contains(ip) {
				site, longest = n.site, n.prefix.Bits()
				break
			}
		}
	}
	return site, longest >= 0
}

// Len returns the number of networks.
func (m Map) Len() int { return len(m.networks) }

// Sites returns the sites that the map has, sorted.
func (m Map) Sites() []string {
	var ids []string
	for _, n := range m.networks {
		ids = append(ids, n.site)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
