package origin

import (
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// proxyAge is how long the system's proxy settings are taken for true: a laptop
// moves to another network, an administrator's policy arrives.
const proxyAge = time.Minute

type proxyFunc func(*url.URL) (*url.URL, error)

// systemProxy returns the proxy for a request: that of the environment if it names
// one, else that of the operating system's settings.
func systemProxy() func(*http.Request) (*url.URL, error) {
	if env := httpproxy.FromEnvironment(); readSystemProxy == nil || env.HTTPProxy != "" || env.HTTPSProxy != "" {
		return http.ProxyFromEnvironment
	}
	c := &cachedProxy{read: readSystemProxy}
	return func(r *http.Request) (*url.URL, error) { return c.of(r.URL) }
}

// cachedProxy reads settings again when they are older than proxyAge.
type cachedProxy struct {
	read func() proxyFunc

	mu     sync.Mutex
	proxy  proxyFunc
	readAt time.Time
}

func (c *cachedProxy) of(u *url.URL) (*url.URL, error) {
	c.mu.Lock()
	if c.proxy == nil || time.Since(c.readAt) >= proxyAge {
		c.proxy, c.readAt = c.read(), time.Now()
	}
	proxy := c.proxy
	c.mu.Unlock()
	return proxy(u) // outside: a script for it may be loaded
}
