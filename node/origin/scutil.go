package origin

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// parseScutil reads what macOS prints for `scutil --proxy`: a dictionary, one
// "key : value" a line, its exceptions an array with the index as key. Scripts
// (PAC) are not followed.
func parseScutil(printed string) proxyFunc {
	values := make(map[string]string)
	var except []string
	inExceptions := false
	for line := range strings.Lines(printed) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " : ")
		switch {
		case key == "}":
			inExceptions = false
		case !ok:
		case key == "ExceptionsList":
			inExceptions = true
		case inExceptions:
			except = append(except, exception(value))
		default:
			values[key] = value
		}
	}
	proxy := func(kind string) string {
		if values[kind+"Enable"] != "1" || values[kind+"Proxy"] == "" {
			return ""
		}
		if port := values[kind+"Port"]; port != "" {
			return "http://" + net.JoinHostPort(values[kind+"Proxy"], port)
		}
		return "http://" + values[kind+"Proxy"]
	}
	return (&httpproxy.Config{HTTPProxy: proxy("HTTP"), HTTPSProxy: proxy("HTTPS"), NoProxy: strings.Join(except, ",")}).ProxyFunc()
}

// exception writes a network in full that macOS abbreviates: 169.254/16.
func exception(s string) string {
	address, bits, ok := strings.Cut(s, "/")
	if !ok {
		return s
	}
	for strings.Count(address, ".") < 3 {
		address += ".0"
	}
	if p, err := netip.ParsePrefix(address + "/" + bits); err == nil {
		return p.String()
	}
	return s
}
