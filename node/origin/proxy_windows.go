package origin

import (
	"net/http"
	"net/url"

	"github.com/mattn/go-ieproxy"
)

// readSystemProxy reads the settings of this user or of WinHTTP (netsh winhttp),
// scripts (PAC) and their detection included.
var readSystemProxy = func() proxyFunc {
	ieproxy.ReloadConf()
	proxy := ieproxy.GetProxyFunc()
	return func(u *url.URL) (*url.URL, error) { return proxy(&http.Request{URL: u}) }
}
