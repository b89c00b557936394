package node

import (
	"context"
	"math/bits"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/p2pnode/p2pnode/bandwidth"
)

func onesCount(x uint64) int { return bits.OnesCount64(x) }

// A collector reads a node's counts when Prometheus asks. Labels are link
// classes, reasons and versions: never a peer, a content or a name, whose number
// nobody bounds.
type collector struct {
	node                                               *Node
	build, peers, contents, used, free                 *prometheus.Desc
	delivered, wasted, served, refused, keys, dhtPeers *prometheus.Desc
	members, delegates, delegate                       *prometheus.Desc

	limit, reserved, pinned, evicted, evictedBytes, damaged, healed, scrubbed, scrubbedSince *prometheus.Desc
}

func newCollector(n *Node) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("p2pnode_"+name, help, labels, nil)
	}
	return &collector{
		node:          n,
		build:         d("build_info", "The program's version; always 1.", "version"),
		peers:         d("peers", "Members connected now, by link class.", "link"),
		members:       d("site_members", "Members of this node's site that it is in touch with, and itself."),
		delegates:     d("site_delegates", "Delegates of this node's site."),
		delegate:      d("site_delegate", "1 if this node is one of them."),
		contents:      d("contents", "Contents in the store, whole or in part."),
		used:          d("cache_bytes", "What verified blocks in the store take of the disk."),
		free:          d("disk_free_bytes", "Bytes free on the store's file system."),
		limit:         d("cache_limit_bytes", "Quota of the store: what contents may take."),
		reserved:      d("cache_reserved_bytes", "What is reserved of the disk for contents under way, yet to come."),
		pinned:        d("cache_pinned_bytes", "What pinned contents take of the disk."),
		evicted:       d("evicted_contents_total", "Contents that were evicted to make room."),
		evictedBytes:  d("evicted_bytes_total", "Bytes of contents that were evicted to make room."),
		damaged:       d("damaged_blocks_total", "Blocks that were found to have gone bad on the disk."),
		healed:        d("healed_blocks_total", "Blocks that had gone bad and were fetched again."),
		scrubbed:      d("scrubbed_bytes_total", "Bytes read again by the scrub."),
		scrubbedSince: d("scrubbed_since_timestamp_seconds", "Since when everything in the store was read again, or written."),
		delivered:     d("delivered_bytes_total", "Bytes fetched and verified, each counted once, by link class.", "link"),
		wasted:        d("wasted_bytes_total", "Bytes that crossed a network for nothing, by link class.", "link", "reason"),
		served:        d("served_bytes_total", "Bytes of blocks sent to peers."),
		refused:       d("refused_connections", "Connections refused lately, as far as they are remembered."),
		keys:          d("announced_keys", "Keys announced in the DHT."),
		dhtPeers:      d("dht_servers", "Servers in the DHT routing table."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	n := c.node
	gauge(c.build, 1, Version())
	peers := make(map[bandwidth.Link]int)
	for _, p := range n.host.Network().Peers() {
		peers[n.link(p)]++
	}
	gauge(c.peers, float64(peers[bandwidth.LAN]), bandwidth.LAN.String())
	gauge(c.peers, float64(peers[bandwidth.WAN]), bandwidth.WAN.String())
	delegates := n.site.Delegates()
	gauge(c.members, float64(len(n.site.Members())))
	gauge(c.delegates, float64(len(delegates)))
	one := 0.0
	if slices.Contains(delegates, n.host.ID()) {
		one = 1
	}
	gauge(c.delegate, one)
	if u, err := n.store.Usage(); err == nil {
		gauge(c.contents, float64(u.Contents))
		gauge(c.used, float64(u.Used))
		gauge(c.free, float64(u.Free))
		gauge(c.limit, float64(u.Quota))
		gauge(c.reserved, float64(u.Reserved))
		gauge(c.pinned, float64(u.Pinned))
	}
	stats := n.store.Stats()
	count(c.evicted, float64(stats.Evicted.Load()))
	count(c.evictedBytes, float64(stats.EvictedBytes.Load()))
	count(c.damaged, float64(stats.Damaged.Load()))
	count(c.healed, float64(stats.Healed.Load()))
	count(c.scrubbed, float64(stats.Scrubbed.Load()))
	if since := n.store.ScrubbedSince(); !since.IsZero() {
		gauge(c.scrubbedSince, float64(since.Unix()))
	}
	for i, share := range n.fetches.brought() {
		link := bandwidth.Links[i].String()
		count(c.delivered, float64(share.Verified), link)
		count(c.wasted, float64(share.Duplicate), link, "duplicate")
		count(c.wasted, float64(share.Corrupt), link, "corrupt")
		count(c.wasted, float64(share.Unwanted), link, "unwanted")
	}
	count(c.served, float64(n.exchange.Stats().Served.Bytes))
	gauge(c.refused, float64(len(n.admission.Refused())))
	if s, err := n.dht.Stats(context.Background()); err == nil {
		gauge(c.keys, float64(s.Keys))
		gauge(c.dhtPeers, float64(s.Servers))
	}
}
