// Package bandwidth holds the words for how fast we may: a rate, and the kind of
// link that a transfer crosses. What is decided about them (the governor) and
// how transfers are held to it (the pacer) is left to workers below.
package bandwidth

import "fmt"

// A Rate is a number of bits per second. 0 means that nothing was set.
type Rate int64

// Units of Rate, decimal as networks count.
const (
	BitPerSecond  Rate = 1
	KbitPerSecond      = 1000 * BitPerSecond
	MbitPerSecond      = 1000 * KbitPerSecond
	GbitPerSecond      = 1000 * MbitPerSecond
)

// BytesPerSecond returns the rate in bytes.
func (r Rate) BytesPerSecond() float64 { return float64(r) / 8 }

// A Link is the kind of path that a transfer crosses.
type Link uint8

const (
	LAN    Link = iota + 1 // to a member of the same site
	WAN                    // to a member of another site
	Origin                 // to an HTTP server
)

// Links lists every Link, for tables.
var Links = [...]Link{LAN, WAN, Origin}

// String returns the link class as it stands in the CLI and in metrics.
func (l Link) String() string {
	switch l {
	case LAN:
		return "lan"
	case WAN:
		return "wan"
	case Origin:
		return "origin"
	}
	return fmt.Sprintf("link(%d)", uint8(l))
}
