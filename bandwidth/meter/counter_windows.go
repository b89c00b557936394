package meter

import (
	"fmt"
	"math"

	"golang.org/x/sys/windows"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// Interface types of ipifcons.h.
const (
	ifTypeWWANPP  = 243
	ifTypeWWANPP2 = 244
	// The first of the InterfaceAndOperStatusFlags of MIB_IF_ROW2.
	hardwareInterface = 1
)

// describe fills in what the IP helper tells. Without it nothing is known.
func (i *Interface) describe() {
	row := windows.MibIfRow2{InterfaceIndex: uint32(i.Index)}
	if windows.GetIfEntry2Ex(windows.MibIfEntryNormalWithoutStatistics, &row) != nil {
		return
	}
	const how = "MIB_IF_ROW2"
	switch {
	case row.Type == windows.IF_TYPE_SOFTWARE_LOOPBACK:
		i.Kind = Read(Loopback, how)
	case row.Type == windows.IF_TYPE_IEEE80211:
		i.Kind = Read(WiFi, how)
	case row.Type == ifTypeWWANPP || row.Type == ifTypeWWANPP2:
		i.Kind = Read(Cellular, how)
	case row.InterfaceAndOperStatusFlags&hardwareInterface == 0:
		i.Kind = Read(Virtual, how)
	case row.Type == windows.IF_TYPE_ETHERNET_CSMACD:
		i.Kind = Read(Ethernet, how)
	}
	speed := func(bits uint64) Reading[bandwidth.Rate] {
		if bits == 0 || bits > math.MaxInt64 { // all ones: unknown
			return Reading[bandwidth.Rate]{}
		}
		return Read(bandwidth.Rate(bits), how)
	}
	i.Down, i.Up = speed(row.ReceiveLinkSpeed), speed(row.TransmitLinkSpeed)
}

// A Counter reads the bytes of one interface, cheaply enough for every 10 ms. It
// is not for two goroutines at once.
type Counter struct {
	name  string
	index uint32
	row   windows.MibIfRow2 // 1.3 KiB that need no allocation for each reading
}

// OpenCounter makes sure that the interface can be read.
func OpenCounter(i Interface) (*Counter, error) {
	c := &Counter{name: i.Name, index: uint32(i.Index)}
	if _, err := c.Read(); err != nil {
		return nil, err
	}
	return c, nil
}

// How tells where the counts are from.
func (c *Counter) How() string { return "MIB_IF_ROW2" }

// Read returns the counts since the interface came up.
func (c *Counter) Read() (Bytes, error) {
	c.row = windows.MibIfRow2{InterfaceIndex: c.index}
	if err := windows.GetIfEntry2Ex(windows.MibIfEntryNormal, &c.row); err != nil {
		return Bytes{}, fmt.Errorf("count the bytes of %s: %w", c.name, err)
	}
	return Bytes{In: c.row.InOctets, Out: c.row.OutOctets}, nil
}

// Close frees nothing.
func (c *Counter) Close() error { return nil }
