package node

import (
	"context"
	"math/bits"

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
}

func newCollector(n *Node) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("p2pnode_"+name, help, labels, nil)
	}
	return &collector{
		node:      n,
		build:     d("build_info", "The program's version; always 1.", "version"),
		peers:     d("peers", "Members connected now, by link class.", "link"),
		contents:  d("contents", "Contents in the store, whole or in part."),
		used:      d("cache_bytes", "Verified bytes in the store."),
		free:      d("disk_free_bytes", "Bytes free on the store's file system."),
		delivered: d("delivered_bytes_total", "Bytes fetched and verified, each counted once, by link class.", "link"),
		wasted:    d("wasted_bytes_total", "Bytes that crossed a network for nothing.", "reason"),
		served:    d("served_bytes_total", "Bytes of blocks sent to peers."),
		refused:   d("refused_connections", "Connections refused lately, as far as they are remembered."),
		keys:      d("announced_keys", "Keys announced in the DHT."),
		dhtPeers:  d("dht_servers", "Servers in the DHT routing table."),
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
	var used int64
	all := n.store.List()
	for _, held := range all {
		used += held.Progress()
	}
	gauge(c.contents, float64(len(all)))
	gauge(c.used, float64(used))
	if free, err := n.store.Free(); err == nil {
		gauge(c.free, float64(free))
	}
	var duplicate, corrupt int64
	for i, share := range n.fetches.brought() {
		count(c.delivered, float64(share.Verified), bandwidth.Links[i].String())
		duplicate += share.Duplicate
		corrupt += share.Corrupt
	}
	count(c.wasted, float64(duplicate), "duplicate")
	count(c.wasted, float64(corrupt), "corrupt")
	count(c.served, float64(n.exchange.Stats().Served.Bytes))
	gauge(c.refused, float64(len(n.admission.Refused())))
	if s, err := n.dht.Stats(context.Background()); err == nil {
		gauge(c.keys, float64(s.Keys))
		gauge(c.dhtPeers, float64(s.Servers))
	}
}
