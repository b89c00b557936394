package meter

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// ownAddrs bounds the local addresses that are counted each for itself. A laptop
// that makes itself a new IPv6 address every day has as many in two months.
const ownAddrs = 64

// Own counts the bytes that our sockets carry, by the local address that they bear
// and by the class of link.
type Own struct {
	mu       sync.Mutex
	accounts map[netip.Addr]*[len(bandwidth.Links) + 1]Account // by address, then by Link
}

// An Account counts the bytes of one address and link. It is for any number of
// goroutines.
type Account struct{ in, out atomic.Uint64 }

// NewOwn returns counts of nothing yet.
func NewOwn() *Own { return &Own{accounts: make(map[netip.Addr]*[len(bandwidth.Links) + 1]Account)} }

// Account returns where to count what goes over link from and to a local address.
// Look it up once for each connection. Addresses past the bound are counted as
// netip.Addr{}.
func (o *Own) Account(local netip.Addr, link bandwidth.Link) *Account {
	local = local.Unmap().WithZone("")
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.accounts[local]
	if of == nil {
		if len(o.accounts) >= ownAddrs {
			local = netip.Addr{}
		}
		if of = o.accounts[local]; of == nil {
			of = new([len(bandwidth.Links) + 1]Account)
			o.accounts[local] = of
		}
	}
	if !slices.Contains(bandwidth.Links[:], link) {
		link = 0 // a class that bandwidth doesn't list is counted, under no name
	}
	return &of[link]
}

// In counts n bytes that came.
func (a *Account) In(n int) { a.in.Add(uint64(n)) }

// Out counts n bytes that went.
func (a *Account) Out(n int) { a.out.Add(uint64(n)) }

// Bytes returns what was counted.
func (a *Account) Bytes() Bytes { return Bytes{In: a.in.Load(), Out: a.out.Load()} }

// Over returns what went over a link by any address.
func (o *Own) Over(link bandwidth.Link) (sum Bytes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range o.accounts {
		if int(link) < len(of) {
			sum = sum.Plus(of[link].Bytes())
		}
	}
	return sum
}

// On returns what went over any link by these addresses: those of an Interface.
func (o *Own) On(addrs []netip.Addr) (sum Bytes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range addrs {
		if of := o.accounts[a]; of != nil {
			for i := range of {
				sum = sum.Plus(of[i].Bytes())
			}
		}
	}
	return sum
}
