package inside

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// A Window passes on the APIs of nodes whose data folders are dir/NAME/node:
// /NAME/v1/status is the status of that node. /links/SITE is the same of the socket
// on which a site's router is changed and read. At / is a page of all.
//
// It gives to everyone who reaches it what a node gives only to its owner, so it is
// for a port of the loopback. Web pages of elsewhere that a browser on this machine
// shows can't use it: it answers to the names of the loopback only, and changes
// nothing for another origin.
type Window struct {
	dir   string
	nodes []string
	proxy map[string]http.Handler // by the name of a node, or links/ and a site
}

//go:embed window.html
var windowPage string

var page = template.Must(template.New("window").Funcs(template.FuncMap{"size": size}).Parse(windowPage))

// NewWindow returns a Window of the nodes below dir, and of the sites' routers, whose
// sockets are routers/SITE.
func NewWindow(dir, routers string, sites []string) (*Window, error) {
	folders, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("window: %w", err)
	}
	w := &Window{dir: dir, proxy: map[string]http.Handler{}}
	for _, f := range folders {
		w.nodes = append(w.nodes, f.Name())
		// Its folder may not be there yet, so that no link would be followed; there
		// are none.
		socket, err := api.SocketPath(w.data(f.Name()))
		if err != nil {
			return nil, fmt.Errorf("window: %w", err)
		}
		w.proxy[f.Name()] = passOn(f.Name(), socket)
	}
	for _, site := range sites {
		w.proxy["links/"+site] = passOn("links/"+site, filepath.Join(routers, site))
	}
	slices.SortFunc(w.nodes, byPlace)
	return w, nil
}

func (w *Window) data(node string) string { return filepath.Join(w.dir, node, "node") }

// byPlace puts those of HQ first, and branch-a-2 before branch-a-10.
func byPlace(a, b string) int {
	rank := func(s string) string {
		i := strings.LastIndexByte(s, '-')
		switch {
		case s == "publisher":
			return "0"
		case i < 0:
			return "1" + s
		}
		return fmt.Sprintf("2%s%8s", s[:i], s[i:])
	}
	return strings.Compare(rank(a), rank(b))
}

// passOn returns what hands requests below /name/ to whoever listens on a socket.
func passOn(name, socket string) http.Handler {
	var d net.Dialer
	return http.StripPrefix("/"+name, &httputil.ReverseProxy{
		FlushInterval: -1, // lines of a long answer, as they come
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "p2pnode"})
		},
		Transport: &http.Transport{
			DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", socket)
			},
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return
			}
			api.Refuse(w, api.Errorf(api.NotRunning, "See its log: docker logs of its container", "%s: not running: %w", name, err))
		},
	})
}

// Serve answers on l until the context ends.
func (w *Window) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("window: %w", err)
	}
	return nil
}

// Handler returns what answers.
func (w *Window) Handler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// Of port 80 a browser says nothing.
		if host, _, _ := strings.Cut(r.Host, ":"); host != "127.0.0.1" && host != "localhost" {
			http.Error(rw, "the window is at http://127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		if r.URL.Path == "/" {
			w.index(rw, r)
			return
		}
		// Of a path below links/ two parts are the name.
		parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
		names := 1
		if parts[0] == "links" {
			names = 2
		}
		if to := w.proxy[strings.Join(parts[:min(names, len(parts))], "/")]; to != nil && len(parts) > names {
			to.ServeHTTP(rw, r)
			return
		}
		http.Error(rw, "no node or link of that name; / lists the nodes", http.StatusNotFound)
	}))
}

// A row is a node on the page.
type row struct {
	Name   string
	Status api.Status
	Err    error
}

func (w *Window) index(rw http.ResponseWriter, r *http.Request) {
	rows := make([]row, len(w.nodes))
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i, name := range w.nodes {
		all.Go(func() {
			rows[i] = row{Name: name}
			c, err := api.NewClient(w.data(name))
			if err != nil {
				rows[i].Err = err
				return
			}
			defer c.Close()
			rows[i].Status, rows[i].Err = c.Status(ctx)
		})
	}
	all.Wait()
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = page.Execute(rw, rows) // whoever left can't be told
}

// size writes bytes for people.
func size(n int64) string {
	const units = "KMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/(1<<10), 0
	for v >= 1<<10 && u < len(units)-1 {
		v, u = v/(1<<10), u+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}
