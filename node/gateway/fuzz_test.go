package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// Whatever is asked, the answer is one of HTTP with the headers that keep a browser
// in its bounds, it closes what it opened, and it costs what it sends.
func FuzzRequest(f *testing.F) {
	s := storetest.Tree(f, 1)
	lib := newShelf(s)
	g := newGateway(lib)
	id := s.ID.String()
	f.Add("GET", "/content/"+id+"/b.txt", "bytes=1-5", "", "")
	f.Add("HEAD", "/content/"+id+"/", "", "application/json;q=0.5, text/html", "only-if-cached")
	f.Add("GET", "/ipfs/"+id+"?format=car&dag-scope=block&entity-bytes=0:*", "", "application/vnd.ipld.car; dups=y", "")
	f.Add("GET", "/ipfs/bafkqaaa?format=raw", "bytes=0-1,5-7,-1", "*/*;q=0.0001", "")
	f.Add("GET", "/content/menu@2/%2e%2e/x?download", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, span, accept, cache string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return // net/http's
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL, r.RequestURI = method, u, target
		for name, v := range map[string]string{"Range": span, "Accept": accept, "Cache-Control": cache} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		w := httptest.NewRecorder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		in := len(target) + len(span) + len(accept) + len(cache)
		if n, limit := after.TotalAlloc-before.TotalAlloc, uint64(2<<20+64*in+8*w.Body.Len()); n > limit {
			t.Errorf("%d bytes allocated for a request of %d and an answer of %d", n, in, w.Body.Len())
		}
		if h := w.Header(); w.Code < 200 || w.Code > 599 || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%d %v", w.Code, h)
		}
		if w.Code == http.StatusOK && method != "GET" && method != "HEAD" {
			t.Errorf("%s is served", method)
		}
		if lib.open != 0 {
			t.Error("a content stays open")
		}
	})
}
