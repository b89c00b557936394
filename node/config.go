package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node/origin"
	"github.com/p2pnode/p2pnode/node/trust"
)

// A Config says how a node is to be. The zero value of a field means its
// default.
type Config struct {
	// Data is the folder that holds everything of the node. Required.
	Data string
	// Site is the location of this node, whatever else says one. Default: what Sites
	// says of its network; else its credential, and for a node that starts an
	// enterprise of its own that is "default".
	Site string
	// Region is a name for the sites around this one, for which its holders are looked
	// for first. Default: none. All nodes of a site are to have the same.
	Region string
	// Sites is the enterprise's map from networks to sites. Default: empty.
	Sites site.Map
	// SitesFile is a file with such a map, signed by an operator (API().SignSites). It
	// holds instead of Sites as soon as it can be read, and is read again when it has
	// changed. Default: none.
	SitesFile string
	// Name is what people call this node; default the host's name.
	Name string
	// Listen has the addresses to listen on. Default: port 4740, TCP and QUIC,
	// IPv4 and IPv6, every interface; a free port if that one is taken.
	Listen []ma.Multiaddr
	// Bootstrap has addresses (with /p2p/ID) of members to meet first, beside
	// those from the invite and those met before.
	Bootstrap []ma.Multiaddr
	// MDNS says on which interfaces neighbours are looked for: "auto" (the
	// default: every one that can multicast), "off", or interface names.
	MDNS []string
	// Connections bounds those that stay open: above it, idle ones are closed until
	// two thirds are left. Those with a node's delegates, and a delegate's with its
	// site, stay and don't count. An endpoint needs no more than the default, 96; a
	// publisher or issuer that 1,000 members were told of needs 4000, or it closes
	// every minute what they open again.
	Connections int
	// WAN says whom this node asks at other sites: WANMesh, the default, WANHub or
	// WANOrigin. All nodes of a site are to have the same.
	WAN string
	// DHT is this node's part in the DHT. Default: it serves.
	DHT DHTMode
	// Workers bounds the cores used for hashing. Default: half of them.
	Workers int
	// CacheQuota is how many bytes content may have on the disk, CacheQuotaShare the
	// same as a share of the disk (0.1: a tenth); of both the lesser. CacheFloor is
	// how many bytes of the disk stay free, whatever the quota says. Defaults and
	// "none": see store.Config, whose fields these are.
	CacheQuota      int64
	CacheQuotaShare float64
	CacheFloor      int64
	// ScrubPeriod is the time in which everything held is read again, ScrubRate how
	// many bytes a second that takes at most. Defaults: see store.Config.
	ScrubPeriod time.Duration
	ScrubRate   int64
	// PageBudget is how much of the system's page cache reading and publishing content
	// may fill. Default: see store.Config.
	PageBudget int64
	// Seeds are files and folders of this machine, an installed older version for
	// instance, in which every fetch looks for blocks before it asks others.
	Seeds []string
	// FirstSource is how long a fetch waits for a first source before it gives
	// up. Default 30 s. A fetch that ever had one doesn't give up by itself.
	FirstSource time.Duration
	// Origin says how HTTP servers are asked that manifests name.
	Origin origin.Config
	// API says whether the local API is served. Default: it is.
	API APIMode
	// Gateway is the address, HOST:PORT, on which contents are served over HTTP to
	// programs of this machine; without GatewayAny it is one of loopback. Whoever
	// can reach it reads every content of the enterprise, without a credential.
	// Default: none; the local API serves them to the owner.
	Gateway    string
	GatewayAny bool
	// Line is told of every TCP connection once its remote is admitted, and may
	// count or hold its bytes (below TLS): see trust.Line. Default: none.
	Line func(remote trust.Credential) trust.Line

	// Network stands in for the machine's, in simulations. Listen has to be given
	// with it. Default: the machine's.
	Network Network

	nodes int     // that the enterprise has; 0 is as many as the DHT says, tests have others
	disk  disk.FS // that the store is on; nil is the system's, tests have others
}

// Whom a node asks at other sites (Config.WAN).
const (
	// WANMesh: everybody who has it. Sites feed each other, and the publisher's link
	// carries a content about once.
	WANMesh = "mesh"
	// WANHub: publishers only, where the WAN is a star and what goes from branch to
	// branch crosses the hub's link twice.
	WANHub = "hub"
	// WANOrigin: nobody. Content comes from the HTTP servers that its manifest names,
	// or from members of the own site.
	WANOrigin = "origin-only"
)

// An APIMode says whether a node serves the local API.
type APIMode uint8

const (
	APISocket APIMode = iota // on a unix socket (named pipe on Windows) in Data
	APIOff                   // not at all: several nodes in one process
)

// A DHTMode is a node's part in the DHT of its enterprise.
type DHTMode uint8

const (
	DHTServer DHTMode = iota // answers others and keeps their records
	DHTClient                // asks and announces: an endpoint beside others that serve
	DHTOff                   // none: an endpoint that leaves asking to its neighbours
)

func (c Config) withDefaults() (Config, error) {
	if c.Data == "" {
		return c, errors.New("no data folder given")
	}
	abs, err := filepath.Abs(c.Data)
	if err != nil {
		return c, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	c.Data = abs
	if len(c.MDNS) == 0 {
		c.MDNS = []string{"auto"}
	}
	if c.Workers == 0 {
		c.Workers = max(1, runtime.NumCPU()/2)
	}
	switch c.WAN {
	case "":
		c.WAN = WANMesh
	case WANMesh, WANHub, WANOrigin:
	default:
		return c, fmt.Errorf("wan %q: want %s, %s or %s", c.WAN, WANMesh, WANHub, WANOrigin)
	}
	if c.FirstSource == 0 {
		c.FirstSource = 30 * time.Second
	}
	return c, nil
}

// pageBudget is PageBudget, or its default: of what a container may have, which the
// store doesn't ask.
func (c Config) pageBudget() int64 {
	const most = 256 << 20
	if c.PageBudget != 0 {
		return c.PageBudget
	}
	if m, err := Memory(); err == nil {
		return min(most, m/16)
	}
	return most
}

func (c Config) mdnsOff() bool { return len(c.MDNS) == 1 && c.MDNS[0] == "off" }

// Folders below Data. Each worker owns one; node/trust has its own name for its.
func (c Config) storeDir() string { return filepath.Join(c.Data, "store") } // unless it was moved: see findStore
func (c Config) dhtDir() string   { return filepath.Join(c.Data, "dht") }
func (c Config) peersFile() string {
	return filepath.Join(c.Data, "peers")
}
