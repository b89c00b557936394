package node

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/origin"
)

// A breaking server ends every answer after so many bytes of body, but for the
// last of the file.
type breaking struct {
	http.ResponseWriter
	left int
}

func (w *breaking) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b[:min(len(b), w.left)])
	if w.left -= n; w.left == 0 {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

var fileTime = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// fileServer serves data with an ETag and a time.
func fileServer(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "x", fileTime, bytes.NewReader(data))
	}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func (e *endpoint) content(id string) *store.Content {
	e.t.Helper()
	parsed, err := content.ParseID(id)
	if err != nil {
		e.t.Fatal(err)
	}
	c, ok := e.node.store.Get(parsed)
	if !ok {
		e.t.Fatalf("%s is not here", id)
	}
	return c
}

func TestAddressIsPublishedLikeAFile(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	data := sampleBytes(5<<20+123, 40)
	var breaks atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="pos image.iso"`)
		if r.Header.Get("Range") != "bytes=0-0" && breaks.Add(1) == 1 {
			w = &breaking{w, 2 << 20} // in the middle; what is asked for next comes whole
		}
		fileServer(data)(w, r)
	})
	added := a.add(api.AddRequest{Paths: []string{s.URL + "/download?id=7"}, Type: "os-image"})
	if added.Name != "pos-image.iso" || added.Size != int64(len(data)) || added.New != added.Size || added.Remote || added.Origin != s.URL+"/download?id=7" {
		t.Errorf("%+v", added)
	}
	if n := breaks.Load(); n != 2 {
		t.Errorf("%d requests for the file, of which one broke off", n)
	}
	c := a.content(added.Content)
	f := c.Manifest().Files[0]
	if !c.Complete() || f.Path != "pos image.iso" || f.Mode != 0o644 || !f.ModTime.Equal(fileTime) {
		t.Errorf("complete %t, %+v", c.Complete(), f)
	}
	out := filepath.Join(t.TempDir(), "out")
	a.get("pos-image.iso", out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// The same is the same content, and cut like any file: a copy of it adds
	// nothing to what moves.
	if again := a.add(api.AddRequest{Paths: []string{s.URL + "/download?id=7"}, Type: "os-image"}); again.Content != added.Content || again.New != 0 {
		t.Errorf("again: %+v", again)
	}
	file := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if copied := a.add(api.AddRequest{Paths: []string{file}}); copied.New != 0 {
		t.Errorf("the same as a file: %d bytes are new", copied.New)
	}
}

func TestServerWithoutRangesIsNoOrigin(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	data := sampleBytes(300_000, 41)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		fileServer(data)(w, r)
	})
	added := a.add(api.AddRequest{Paths: []string{s.URL + "/a.bin"}})
	if added.Origin != "" || len(a.content(added.Content).Manifest().Origins) != 0 || !a.content(added.Content).Complete() {
		t.Errorf("%+v", added)
	}
	_, err := a.node.API().Add(t.Context(), api.AddRequest{Paths: []string{s.URL + "/a.bin"}, Remote: true}, nil)
	if e := api.From(err); !errors.Is(err, origin.ErrNoRange) || !strings.Contains(e.Next, "without --remote") {
		t.Errorf("%v, next %q", err, e.Next)
	}
}

func TestRemoteKeepsListsAndNoBlocks(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	data := sampleBytes(5<<20, 42)
	var given atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fileServer(data)(&counting{w, &given}, r)
	})
	added := a.add(api.AddRequest{Paths: []string{s.URL + "/os.iso"}, Remote: true, Name: "os", Version: "12"})
	if !added.Remote || added.Origin != s.URL+"/os.iso" || added.Size != int64(len(data)) {
		t.Errorf("%+v", added)
	}
	if n := given.Load(); n > int64(len(data))+1 {
		t.Errorf("the server gave %d bytes for %d", n, len(data))
	}
	kept := func() {
		t.Helper()
		c := a.content(added.Content)
		if c.Complete() || c.Progress() != 0 || len(c.Manifest().Origins) != 1 {
			t.Errorf("complete %t, %d bytes here, origins %v", c.Complete(), c.Progress(), c.Manifest().Origins)
		}
		for i := range c.Manifest().Chunks {
			if _, ok := c.Node(i); !ok {
				t.Errorf("list %d is not here", i)
			}
		}
		files, err := filepath.Glob(filepath.Join(a.cfg.Data, "store", "content", added.Content, "files", "*"))
		if err != nil || len(files) != 0 {
			t.Errorf("kept %q, %v", files, err)
		}
	}
	kept()
	if d := mustContent(t, a, "os"); !slices.Equal(d.Origins, []string{s.URL + "/os.iso"}) {
		t.Errorf("origins shown: %q", d.Origins)
	}
	a.stop()
	a.run()
	t.Cleanup(a.stop)
	kept()
	if releases := a.node.catalogue.named("os"); len(releases) != 1 {
		t.Errorf("%d releases after a restart", len(releases))
	}
	// Kept as a whole, it is another content's bytes and the same id.
	whole := a.add(api.AddRequest{Paths: []string{s.URL + "/os.iso"}, Name: "os", Version: "12"})
	if whole.Content != added.Content || whole.Remote || !a.content(whole.Content).Complete() {
		t.Errorf("%+v", whole)
	}
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *counting) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.n.Add(int64(n))
	return n, err
}

// G24, on the publisher's side: what isn't the file isn't published.
func TestG24WrongAddressesAreNotPublished(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	data := sampleBytes(3<<20, 43)
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>log in"))
	}
	var version atomic.Int32
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		path   string
		remote bool
		code   api.Code
		want   error
	}{
		"portal":         {page, "/f", false, api.Failed, origin.ErrPage},
		"portal, remote": {page, "/f", true, api.Failed, origin.ErrPage},
		"gone":           {http.NotFound, "/f", false, api.NotFound, content.ErrNotFound},
		"password":       {page, "@/f", false, api.Usage, content.ErrFormat},
		"fragment":       {page, "/f#part", false, api.Usage, content.ErrFormat},
		"no way to tell it": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(data))
		}, "/f", true, api.Failed, nil},
		"changes while read": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", string(rune('0'+version.Add(1)))+`"`)
			w.Header().Set("ETag", `"`+string(rune('a'+version.Load()))+`"`)
			http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(data))
		}, "/f", true, api.Failed, content.ErrChanged},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		}, "/f", false, api.Failed, origin.ErrLength},
		"shorter than it says": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "bytes=0-0" {
				w.Header().Set("Content-Range", "bytes 0-3145726/3145727")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[1:])
				return
			}
			fileServer(data)(w, r)
		}, "/f", true, api.Failed, origin.ErrLength},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.answer)
			address := s.URL + test.path
			if strings.HasPrefix(test.path, "@") {
				address = strings.Replace(s.URL, "://", "://user:secret@", 1) + test.path[1:]
			}
			_, err := a.node.API().Add(t.Context(), api.AddRequest{Paths: []string{address}, Remote: test.remote}, nil)
			e := api.From(err)
			if err == nil || e.Code != test.code || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%v (%s), want %v (%s)", err, e.Code, test.want, test.code)
			}
			if strings.Contains(e.Message, "secret") {
				t.Errorf("tells the password: %s", e.Message)
			}
		})
	}
	for name, r := range map[string]api.AddRequest{
		"with a file":          {Paths: []string{"http://origin.test/f", filepath.Join(t.TempDir(), "x")}},
		"two":                  {Paths: []string{"http://origin.test/f", "https://origin.test/g"}},
		"unpacked":             {Paths: []string{"http://origin.test/f.zip"}, Unpack: true},
		"a file that's remote": {Paths: []string{filepath.Join(t.TempDir(), "x")}, Remote: true},
	} {
		if _, err := a.node.API().Add(t.Context(), r, nil); api.From(err).Code != api.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	if held, err := a.node.API().Contents(t.Context()); err != nil || len(held) != 0 {
		t.Errorf("%d contents, %v", len(held), err)
	}
	left, err := os.ReadDir(filepath.Join(a.cfg.Data, "store", "content"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
