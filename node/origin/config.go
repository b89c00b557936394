package origin

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// Config holds the settings of a Client. Zero means the default.
type Config struct {
	// Proxy returns the proxy for a request. Default: see the package.
	Proxy func(*http.Request) (*url.URL, error)
	// TLS is for connections to https servers. Default: the system's authorities,
	// TLS 1.2 at least.
	TLS *tls.Config
	// Dial makes connections; set it to count or hold their bytes. Default: a
	// net.Dialer that refuses the addresses that the package refuses. Whoever
	// sets it decides on what names turn out to be, too.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Allow lists the only servers that may be asked. Default: any, but what the
	// package refuses. See there what a manifest can make a node do.
	Allow []Pattern
	// PerHost is how many requests a server is asked at once, all flows together.
	// Default 4: enough to hide the round trips between parts of 1 MiB up to 300
	// Mbit/s at 100 ms, and what a browser stays below.
	PerHost int
	// FirstByte is how long an answer may take to begin: name, connection, TLS and
	// redirects included. Default 20 s.
	FirstByte time.Duration
	// MinRate is what a body has to bring, over Window. Time in which nobody
	// reads doesn't count. Default 16 kbit/s: four parts at once fit a link of 64
	// kbit/s. It finds servers that hang; which source is slow the flow decides.
	MinRate bandwidth.Rate
	// Window is over how long MinRate is measured, and how long not a single byte
	// may come. Default 10 s.
	Window time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.PerHost < 0 || c.FirstByte < 0 || c.MinRate < 0 || c.Window < 0 {
		return c, fmt.Errorf("origin: settings can't be negative: %d requests, %v, %d bit/s, %v", c.PerHost, c.FirstByte, c.MinRate, c.Window)
	}
	if c.Proxy == nil {
		c.Proxy = systemProxy()
	}
	if c.PerHost == 0 {
		c.PerHost = 4
	}
	if c.FirstByte == 0 {
		c.FirstByte = 20 * time.Second
	}
	if c.MinRate == 0 {
		c.MinRate = 16 * bandwidth.KbitPerSecond
	}
	if c.Window == 0 {
		c.Window = 10 * time.Second
	}
	return c, nil
}
