package node

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/flow"
)

// serveFiles serves each file of a content at the address that names it.
func serveFiles(w **webContent) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var file int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &file); err != nil || file >= len((*w).files) {
			http.NotFound(rw, r)
			return
		}
		time.Sleep(20 * time.Millisecond) // the way there and back
		http.ServeContent(rw, r, "x", time.Time{}, bytes.NewReader((*w).files[file]))
	}
}

func at(host string, file int) content.Origin {
	return content.Origin{URL: fmt.Sprintf("http://%s/%d", host, file), File: file}
}

func TestFlowCompletesFromAnOrigin(t *testing.T) {
	for name, test := range map[string]struct {
		sizes   []int
		origins []content.Origin
		hosts   []string // that are asked
	}{
		"a file":                    {[]int{5 << 20}, []content.Origin{at("one.test", 0)}, []string{"one.test"}},
		"a tree, chunks span files": {[]int{700_000, 0, 10, 3 << 20, 90_000, 50_000}, []content.Origin{at("one.test", 1), at("one.test", 3), at("one.test", 4), at("one.test", 5), at("one.test", 6)}, []string{"one.test"}},
		"several addresses, one file: the next if one fails": {[]int{3 << 20},
			[]content.Origin{{URL: "http://one.test/gone", File: 0}, at("one.test", 0)}, []string{"one.test"}},
		"two servers":                    {[]int{8 << 20}, []content.Origin{at("one.test", 0), at("two.test", 0)}, []string{"one.test", "two.test"}},
		"chunks that no server has both": {[]int{700_000, 800_000}, []content.Origin{at("one.test", 1), at("two.test", 2)}, []string{"one.test", "two.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWebContent(t, test.sizes, test.origins...)
			synctest.Test(t, func(t *testing.T) {
				lab := newWebLab(serveFiles(&w))
				defer lab.stop()
				client := lab.client(t)
				defer client.Close()
				s, c := w.begin(t, true)
				defer s.Close()
				f := startWebFlow(t, client, c)
				f.wait(t, time.Minute)
				if err := f.stop(); err != nil {
					t.Error(err)
				}
				w.check(t, c)
				share := f.share(bandwidth.Origin)
				if share.Verified != int64(len(w.bytes)) || share.Corrupt != 0 || share.Duplicate != 0 || !f.joined.Load() {
					t.Errorf("of the origin: %+v, joined %t", share, f.joined.Load())
				}
				hosts := make(map[string]int)
				for _, r := range lab.requests() {
					hosts[r.host]++
				}
				for _, h := range test.hosts {
					if hosts[h] == 0 {
						t.Errorf("%s was never asked: %v", h, hosts)
					}
				}
				for _, d := range f.ring.All() {
					if d.Peer != "" && !strings.HasPrefix(string(d.Peer), "origin:") {
						t.Errorf("%+v is of another peer", d)
					}
				}
			})
		})
	}
}

// wait waits until the flow is done.
func (w *webFlow) wait(t *testing.T, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); !w.Status().Complete; time.Sleep(10 * time.Millisecond) { // the bubble's time
		if time.Now().After(end) {
			t.Errorf("not done after %v: %+v", limit, w.Status())
			return
		}
	}
}

func TestOriginClaimsWhatItCanGive(t *testing.T) {
	// Only the second file has an address, and only some lists are known at first.
	w := newWebContent(t, []int{3 << 20, 4 << 20}, at("one.test", 2))
	synctest.Test(t, func(t *testing.T) {
		lab := newWebLab(serveFiles(&w))
		defer lab.stop()
		client := lab.client(t)
		defer client.Close()
		s, c := w.begin(t, false)
		defer s.Close()
		f := startWebFlow(t, client, c)
		time.Sleep(3 * time.Second)
		if n := len(lab.requests()); n != 0 {
			t.Errorf("%d requests without a list", n)
		}
		claim := roaring.New()
		stop, err := f.origins.Sources()[0].Follow(c.ID(), 0, func(have *roaring.Bitmap) { claim = have })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		want, chunks := int64(0), roaring.New()
		for i, node := range w.nodes {
			inside := w.layout.Chunk(i) >= 3<<20
			if inside && i%2 == 0 {
				want += int64(c.Manifest().Chunks[i].Size)
				chunks.Add(uint32(i))
			}
			if i%2 == 0 {
				if err := c.SetBlocks(i, node); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.origins.Learnt()
		time.Sleep(3 * time.Second)
		if got := f.share(bandwidth.Origin).Verified; got != want || want == 0 {
			t.Errorf("%d bytes came, want %d", got, want)
		}
		if !claim.Equals(chunks) {
			t.Errorf("claims %v, want %v", claim, chunks)
		}
		// The rest is noticed by itself.
		w.setLists(t, c)
		time.Sleep(mostLook + leastLook)
		missing := c.Manifest().Size() - f.share(bandwidth.Origin).Verified
		if missing < 3<<20 || missing > 3<<20+content.MaxChunk {
			t.Errorf("%d bytes are missing", missing)
		}
		if err := f.stop(); err == nil {
			t.Error("done without the first file")
		}
	})
}

func TestWantedBlocksAreAskedForInFewRanges(t *testing.T) {
	w := newWebContent(t, []int{300_000, 50_000, 2 << 20})
	for i, blocks := range w.blocks {
		all := ^uint64(0) >> (64 - len(blocks))
		for _, want := range []uint64{all, ^uint64(0), 0, 1, all &^ 1, all &^ 4, 0x5555555555555555} {
			got := uint64(0)
			var last blockRun
			for n, run := range blockRuns(w.layout, i, blocks, want) {
				size := int64(0)
				for k, b := range run.sizes {
					got |= 1 << (run.first + k)
					size += int64(b)
				}
				if size != run.Size || run.Offset+size > int64(len(w.files[run.File])) {
					t.Errorf("chunk %d, %#x: %+v", i, want, run)
				}
				if n > 0 && last.File == run.File && last.Offset+last.Size == run.Offset {
					t.Errorf("chunk %d, %#x: %+v and %+v are one", i, want, last, run)
				}
				for k := range run.sizes {
					at := w.layout.Chunk(i)
					for _, b := range blocks[:run.first+k] {
						at += int64(b.Size)
					}
					from := run.Offset
					for _, b := range run.sizes[:k] {
						from += int64(b)
					}
					if !bytes.Equal(w.bytes[at:at+int64(run.sizes[k])], w.files[run.File][from:from+int64(run.sizes[k])]) {
						t.Errorf("chunk %d, %#x: block %d isn't at %+v", i, want, run.first+k, run)
					}
				}
				last = run
			}
			if got != want&all {
				t.Errorf("chunk %d: blocks %#x for %#x", i, got, want&all)
			}
		}
	}
}

// G24: what a network or a server puts in the place of the file costs no byte in
// the store, and no more than a request every 30 s; the flow goes on with others.
func TestG24WrongOrigins(t *testing.T) {
	const size = 3 << 20
	plain := newWebContent(t, []int{size}, at("origin.test", 0))
	secured := newWebContent(t, []int{size}, content.Origin{URL: "https://origin.test/0", File: 0})
	authority := httptest.NewTLSServer(nil) // that nobody knows
	authority.Close()
	junk := bytes.Repeat([]byte("junk"), content.MaxChunk/4)
	// part answers a Range as it should be, but for what change does to it.
	part := func(change func(h http.Header, body []byte) []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var first, last int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
			body := change(w.Header(), junk[:last-first+1])
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
		}
	}
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>Please log in")
	}
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			h := part(func(_ http.Header, body []byte) []byte { return body })
			if status == http.StatusPartialContent {
				h(w, r)
			}
			for {
				if _, err := w.Write(junk[:32<<10]); err != nil {
					return
				}
			}
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		tls    bool
		// Bytes that only their hash tells from the right ones: they come, are not
		// kept, and the server is banned.
		corrupt bool
	}{
		"200 and HTML": {answer: page},
		"302 to a login page": {answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				page(w, r)
				return
			}
			http.Redirect(w, r, "http://portal.test/login", http.StatusFound)
		}},
		"302 without end":       {answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/0", http.StatusFound) }},
		"certificate of others": {answer: page, tls: true},
		"200, endless":          {answer: endless(http.StatusOK)},
		"206, endless":          {answer: endless(http.StatusPartialContent), corrupt: true},
		"another size": {answer: part(func(h http.Header, body []byte) []byte {
			h.Set("Content-Range", strings.Replace(h.Get("Content-Range"), fmt.Sprint("/", size), fmt.Sprint("/", size-1), 1))
			return body
		})},
		"shorter": {answer: part(func(h http.Header, body []byte) []byte {
			h.Set("Content-Length", fmt.Sprint(len(body)-1))
			return body[1:]
		})},
		"longer": {answer: part(func(h http.Header, body []byte) []byte {
			h.Set("Content-Length", fmt.Sprint(len(body)+1))
			return append(bytes.Clone(body), 'x')
		})},
		"encoded": {answer: part(func(h http.Header, body []byte) []byte { h.Set("Content-Encoding", "gzip"); return body })},
		"404":     {answer: http.NotFound},
		"503": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		"no answer":   {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"closes":      {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"other bytes": {answer: part(func(_ http.Header, body []byte) []byte { return body }), corrupt: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, certs := plain, []tls.Certificate(nil)
			if test.tls {
				w, certs = secured, authority.TLS.Certificates
			}
			synctest.Test(t, func(t *testing.T) {
				lab := newWebLab(test.answer, certs...)
				defer lab.stop()
				client := lab.client(t)
				defer client.Close()
				s, c := w.begin(t, true)
				defer s.Close()
				f := startWebFlow(t, client, c)

				time.Sleep(5 * time.Minute)
				share := f.share(bandwidth.Origin)
				if share.Verified != 0 || c.Progress() != 0 {
					t.Errorf("%d bytes were taken", c.Progress())
				}
				if (share.Corrupt > 0) != test.corrupt {
					t.Errorf("%d corrupt bytes", share.Corrupt)
				}
				if f.joined.Load() && !test.corrupt {
					t.Error("counts as a source")
				}
				rounds, last := 0, time.Time{}
				for _, r := range lab.requests() {
					// What was under way together is one round: a flow tries a new
					// source with two chunks, and a redirect is asked for again.
					switch gap := r.at.Sub(last); {
					case gap >= 30*time.Second:
						rounds++
						last = r.at
					case gap > 0:
						t.Errorf("asked again after %v", gap)
					}
				}
				if rounds > 10 || !test.tls && !test.corrupt && rounds < 3 {
					t.Errorf("asked %d times in 5 min", rounds)
				}

				other := &memPeer{w, make(chan struct{})}
				f.Add(other)
				f.wait(t, 30*time.Second)
				if err := f.stop(); err != nil {
					t.Error(err)
				}
				close(other.done)
				w.check(t, c)
				if got := f.share(bandwidth.WAN).Verified; got != size {
					t.Errorf("%d bytes of the peer", got)
				}
			})
		})
	}
}

func TestOriginThatRecoversIsAskedAgain(t *testing.T) {
	w := newWebContent(t, []int{3 << 20}, at("origin.test", 0))
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		lab := newWebLab(func(rw http.ResponseWriter, r *http.Request) {
			if time.Since(begun) < 2*time.Minute {
				rw.WriteHeader(http.StatusBadGateway)
				return
			}
			serveFiles(&w)(rw, r)
		})
		defer lab.stop()
		client := lab.client(t)
		defer client.Close()
		s, c := w.begin(t, true)
		defer s.Close()
		f := startWebFlow(t, client, c)
		// Meanwhile it claims nothing, so that the flow calls for others.
		var claims []uint64
		stop, err := f.origins.Sources()[0].Follow(c.ID(), 0, func(have *roaring.Bitmap) { claims = append(claims, have.GetCardinality()) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		time.Sleep(time.Minute)
		f.wait(t, 10*time.Minute)
		all := uint64(len(w.blocks))
		if len(claims) < 3 || !slices.Contains(claims, 0) || claims[len(claims)-1] != all {
			t.Errorf("claims %v of %d chunks", claims, all)
		}
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		w.check(t, c)
	})
}

func TestOriginEndsWithItsRun(t *testing.T) {
	w := newWebContent(t, []int{3 << 20}, at("origin.test", 0))
	synctest.Test(t, func(t *testing.T) {
		lab := newWebLab(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		defer lab.stop()
		client := lab.client(t)
		defer client.Close()
		s, c := w.begin(t, true)
		defer s.Close()
		f := startWebFlow(t, client, c)
		time.Sleep(time.Second)
		if len(lab.requests()) == 0 {
			t.Error("not asked")
		}
		if err := f.stop(); err == nil {
			t.Error("complete")
		}
		src := f.origins.Sources()[0]
		<-src.Done()
		if _, err := src.Request(c.ID(), 0, 1, false, nil); outcome(err) != flow.Gone {
			t.Errorf("asked after its end: %v", err)
		}
		if _, err := src.Request(c.ID(), 99, 1, false, nil); !errors.Is(err, content.ErrNotFound) {
			t.Error(err)
		}
		if len(newOrigins(client, c, func() {}, f.origins.sources[0].log).Sources()) != 1 {
			t.Error("no source")
		}
	})
}
