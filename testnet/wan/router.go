package wan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// A RouterConfig says what a Router is between. Interfaces go by their subnets:
// what a container's are called isn't known beforehand.
type RouterConfig struct {
	// LAN and WAN are the router's own addresses and the subnets they are in. An
	// address that no interface has is added to the interface of its subnet.
	LAN, WAN netip.Prefix

	Settings [2]Settings // Forth is from the LAN to the WAN
	Classes  []Class
	Seed     uint64
	Routes   []Route // to the other sites; there will be no default one

	// Control is the path of the unix socket that Control speaks to. Whoever may
	// write to it may change the link. What is there of an earlier router is
	// replaced.
	Control string
}

// A Route sends what is for a subnet by way of a neighbour.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// ParseRoute reads SUBNET=ADDRESS.
func ParseRoute(text string) (Route, error) {
	to, via, _ := strings.Cut(text, "=")
	prefix, err := netip.ParsePrefix(to)
	if err == nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(via); err == nil {
			return Route{prefix.Masked(), addr}, nil
		}
	}
	return Route{}, fmt.Errorf("route %q: %w; want one as in 10.77.2.0/24=10.77.0.12", text, err)
}

// maxRequest bounds what is read of a request: the longest settings are shorter.
const maxRequest = 16 << 10 // bytes

// directionNames are the last words of a direction's path.
var directionNames = [2]string{"up", "down"}

// State is what a link's direction does, and what it has done so far.
type State struct {
	Settings string `json:"settings"` // the text form
	Counts   Counts `json:"counts"`
}

// A link is what control is about: an Emulator, but for tests.
type link interface {
	Set(Direction, Settings) error
	Settings(Direction) Settings
	Counts(Direction) Counts
}

// control answers a Control:
//
//	GET /v1/link/up    the State of the direction from the LAN to the WAN
//	PUT /v1/link/up    set it, to the settings in the body
//
// and the same for down. Errors are text, with a status from 400 on.
func control(l link) http.Handler {
	mux := http.NewServeMux()
	for i, name := range directionNames {
		d := Direction(i)
		mux.HandleFunc("GET /v1/link/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			// If the client has gone there is nobody to tell.
			_ = json.NewEncoder(w).Encode(State{l.Settings(d).String(), l.Counts(d)})
		})
		mux.HandleFunc("PUT /v1/link/"+name, func(w http.ResponseWriter, r *http.Request) {
			text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
			var s Settings
			if err == nil {
				s, err = Parse(string(text))
			}
			if err == nil {
				err = l.Set(d, s)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	return mux
}

// A Control reads and changes the link of a Router that runs.
type Control struct {
	client *http.Client
	base   string
}

const (
	controlTimeout = 10 * time.Second
	maxState       = 1 << 20 // bytes
)

// NewControl returns a Control of the router that answers on a unix socket. It
// holds no connection.
func NewControl(socket string) *Control {
	return ControlOver(&http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}, "http://router")
}

// ControlOver returns a Control of the router that is reached below a URL.
func ControlOver(transport http.RoundTripper, base string) *Control {
	return &Control{&http.Client{Transport: transport, Timeout: controlTimeout}, strings.TrimSuffix(base, "/")}
}

// Set changes what a direction does, from now on.
func (c *Control) Set(ctx context.Context, d Direction, s Settings) error {
	body, err := c.do(ctx, http.MethodPut, d, strings.NewReader(s.String()))
	if err != nil {
		return fmt.Errorf("set %s of a link: %w", directionNames[d], err)
	}
	return body.Close()
}

// State returns what a direction does and did.
func (c *Control) State(ctx context.Context, d Direction) (s State, err error) {
	body, err := c.do(ctx, http.MethodGet, d, http.NoBody)
	if err == nil {
		err = errors.Join(json.NewDecoder(io.LimitReader(body, maxState)).Decode(&s), body.Close())
	}
	if err != nil {
		return State{}, fmt.Errorf("read %s of a link: %w", directionNames[d], err)
	}
	return s, nil
}

func (c *Control) do(ctx context.Context, method string, d Direction, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/link/"+directionNames[d], body)
	if err != nil {
		return nil, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the router: %w", err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxRequest))
	return nil, errors.Join(fmt.Errorf("the router answers %s: %s", res.Status, bytes.TrimSpace(text)), res.Body.Close())
}
