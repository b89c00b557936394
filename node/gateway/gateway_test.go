package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/storetest"
	"github.com/p2pnode/p2pnode/node/gateway"
)

var nopLog = zap.NewNop()

// A liar gives the bytes of something else.
type liar struct{ *shelf }

func (l liar) Block(context.Context, content.Hash) ([]byte, error) {
	return []byte("something else"), nil
}

// serve runs a gateway on a port of loopback until the test ends.
func serve(t *testing.T, g *gateway.Gateway, anywhere bool) (url string) {
	t.Helper()
	l, err := gateway.Listen("127.0.0.1:0", anywhere)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, l, anywhere) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func TestRangesAreThoseOfTheFile(t *testing.T) {
	const n = 300
	s := storetest.Tree(t, 1)
	g := newGateway(newShelf(s))
	r := rand.New(rand.NewPCG(1, 1))
	for range n {
		i := r.IntN(len(s.Manifest.Files))
		f := s.Manifest.Files[i]
		if f.Mode.IsDir() || f.Size == 0 {
			continue
		}
		from := r.Int64N(f.Size)
		to := from + r.Int64N(f.Size-from)
		path := (&fileURL{s.ID, f.Path}).String()
		res := ask(t, g, "GET", path, fmt.Sprintf("Range: bytes=%d-%d", from, to))
		want := string(s.File(i)[from : to+1])
		if got := body(t, res); res.StatusCode != http.StatusPartialContent || got != want {
			t.Fatalf("%s from %d to %d: %s, %d bytes of %d (seed 1)", f.Path, from, to, res.Status, len(got), len(want))
		}
		if got, want := res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", from, to, f.Size); got != want {
			t.Fatalf("Content-Range %q, want %q", got, want)
		}
	}
	for i, f := range s.Manifest.Files {
		if f.Mode.IsDir() {
			continue
		}
		res := ask(t, g, "GET", (&fileURL{s.ID, f.Path}).String())
		if res.StatusCode != 200 || body(t, res) != string(s.File(i)) {
			t.Errorf("%s: %s", f.Path, res.Status)
		}
	}
}

type fileURL struct {
	id   content.ID
	path string
}

func (u *fileURL) String() string {
	var parts []string
	for p := range strings.SplitSeq(u.path, "/") {
		parts = append(parts, escape(p))
	}
	return "/content/" + u.id.String() + "/" + strings.Join(parts, "/")
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func TestAnswersToConditionsAndMethods(t *testing.T) {
	s, tree := storetest.File(t, 1, 50_000, storetest.Small), storetest.Tree(t, 2)
	lib := newShelf(s, tree)
	lib.names["menu"], lib.names["menu@2"] = s.ID, tree.ID
	g := newGateway(lib)
	id, tid := s.ID.String(), tree.ID.String()
	tag := `"` + id + `"`
	for _, x := range []struct {
		ask, headers string
		status       int
		want         string
	}{
		{"HEAD /content/" + id, "", 200, "Content-Length: 50000|Accept-Ranges: bytes|Etag: " + tag + "|Content-Type: application/octet-stream|Content-Disposition: inline; filename=\"file.bin\"|Cache-Control: public, max-age=29030400, immutable"},
		{"GET /content/" + id + "/file.bin", "", 200, "Etag: " + tag},
		{"GET /content/" + id + "?download", "", 200, "Content-Disposition: attachment; filename=\"file.bin\""},
		{"GET /content/" + id, "If-None-Match: " + tag, 304, "Etag: " + tag},
		{"GET /content/" + id, `If-None-Match: "x"`, 200, ""},
		{"GET /content/" + id, `If-Match: "x"`, 412, ""},
		{"GET /content/" + id, "Range: bytes=50000-", 416, "Content-Range: bytes */50000"},
		{"GET /content/" + id, "Range: bytes=49999-", 206, "Content-Length: 1"},
		{"GET /content/" + id, "Range: bytes=-2", 206, "Content-Length: 2"},
		{"GET /content/" + id, "Range: bytes=1-2|If-Range: " + tag, 206, ""},
		{"GET /content/" + id, `Range: bytes=1-2|If-Range: "x"`, 200, "Content-Length: 50000"},
		{"GET /content/" + id, "Range: lines=1-2", 416, ""},
		{"GET /content/" + id + "/other", "", 404, "Cache-Control: no-store"},
		{"GET /content/" + id + "/file.bin/", "", 301, "Location: /content/" + id + "/file.bin"},
		{"GET /content/" + id, "Cache-Control: only-if-cached", 200, ""},
		{"GET /content/" + content.ID{1}.String(), "Cache-Control: no-store, Only-If-Cached", 412, ""},
		{"GET /content/" + content.ID{1}.String(), "", 404, ""},
		{"GET /content/menu", "", 307, "Location: /content/" + id + "|Cache-Control: no-store"},
		{"GET /content/menu@2/a/one?download", "", 307, "Location: /content/" + tid + "/a/one?download"},
		{"GET /content/nothing", "", 404, ""},
		{"GET /content/", "", 404, ""},
		{"GET /", "", 404, ""},
		{"GET /content/" + tid, "", 301, "Location: /content/" + tid + "/"},
		{"GET /content/" + tid + "/a/deep", "", 301, "Location: /content/" + tid + "/a/deep/"},
		{"GET /content/" + tid + "/.", "", 404, ""},
		{"GET /content/" + tid + "/a/one", "", 200, `Etag: "` + tid + `/a/one"`},
		{"GET /content/" + tid + "/a/../b.txt", "", 404, ""},
		{"GET /content/" + tid + "//b.txt", "", 404, ""},
		{"GET /content/" + tid + "/%CE%B2-%CE%BB%CF%8C%CE%B3%CE%BF%CF%82", "", 200, `Etag: "` + tid + `/%CE%B2-%CE%BB%CF%8C%CE%B3%CE%BF%CF%82"`},
		{"POST /content/" + id, "", 405, "Allow: GET, HEAD"},
		{"OPTIONS /content/" + id, "Origin: http://evil.example|Access-Control-Request-Method: GET", 405, "-Access-Control-Allow-Origin"},
		{"DELETE /content/" + id, "", 405, ""},
		{"GET /content/" + id + "?" + strings.Repeat("x", 9000), "", 414, ""},
		// Pages of other sites, as browsers tell.
		{"GET /content/" + id, "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: video", 403, ""},
		{"GET /content/" + id, "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: cors|Sec-Fetch-Dest: empty", 403, ""},
		{"GET /content/" + id, "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe", 403, ""},
		{"GET /content/" + id, "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document", 200, ""},
		{"GET /content/" + id, "Sec-Fetch-Site: same-origin|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: video", 200, "X-Content-Type-Options: nosniff|Cross-Origin-Resource-Policy: same-origin|Referrer-Policy: no-referrer|-Access-Control-Allow-Origin"},
	} {
		method, path, _ := strings.Cut(x.ask, " ")
		var headers []string
		if x.headers != "" {
			headers = strings.Split(x.headers, "|")
		}
		res := ask(t, g, method, path, headers...)
		got := body(t, res)
		if res.StatusCode != x.status || method == "HEAD" && got != "" || res.StatusCode == 304 && got != "" {
			t.Errorf("%s [%s]: %s, %d bytes, want %d", x.ask, x.headers, res.Status, len(got), x.status)
			continue
		}
		for h := range strings.SplitSeq(x.want, "|") {
			if name, absent := strings.CutPrefix(h, "-"); absent && res.Header.Get(name) != "" {
				t.Errorf("%s: has %s", x.ask, name)
			} else if name, value, ok := strings.Cut(h, ": "); ok && res.Header.Get(name) != value {
				t.Errorf("%s [%s]: %s is %q, want %q", x.ask, x.headers, name, res.Header.Get(name), value)
			}
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script") {
			t.Errorf("%s: policy %q", x.ask, csp)
		}
	}
	if lib.open != 0 {
		t.Errorf("%d contents are open", lib.open)
	}
}

// What could run in a browser is put where it can't; what plays or shows may.
func TestNothingOfAContentRuns(t *testing.T) {
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	names := []string{"a.html", "b.SVG", "c.xml", "d.xhtml", "e.pdf", "f.js", "g", "h.mp4", "i.wav", "j.png"}
	for _, n := range names {
		files = append(files, content.File{Path: n, Size: 10, Mode: 0o644})
	}
	s := storetest.New(t, 1, storetest.Small, files...)
	g := newGateway(newShelf(s))
	for _, n := range names {
		res := ask(t, g, "GET", "/content/"+s.ID.String()+"/"+n)
		csp := res.Header.Get("Content-Security-Policy")
		plays := slices.Contains([]string{"h.mp4", "i.wav", "j.png"}, n)
		if res.StatusCode != 200 || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Content-Type") == "" ||
			strings.HasPrefix(csp, "sandbox;") == plays || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "allow-") {
			t.Errorf("%s: %s %s, policy %q", n, res.Status, res.Header.Get("Content-Type"), csp)
		}
	}
}

func TestFoldersAreListed(t *testing.T) {
	files := []content.File{{Path: ".", Mode: fs.ModeDir | 0o755}}
	for _, p := range []string{"&lt;img src=x&gt;", "'onclick='x", "a"} {
		files = append(files, content.File{Path: p, Mode: 0o644, Size: 2048})
	}
	files[3].Mode, files[3].Size = fs.ModeDir|0o755, 0
	files = append(files, content.File{Path: "a/b", Mode: fs.ModeDir | 0o755}, content.File{Path: "a/b/c", Mode: 0o644}, content.File{Path: "a/z", Mode: 0o644, Size: 5},
		content.File{Path: "javascript;alert(1)", Mode: 0o644}, content.File{Path: "é", Mode: 0o644})
	s := storetest.New(t, 1, storetest.Small, files...)
	g := newGateway(newShelf(s))
	top := "/content/" + s.ID.String() + "/"

	res := ask(t, g, "GET", top)
	html := body(t, res)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/html; charset=utf-8" || res.Header.Get("Vary") != "Accept" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	for _, bad := range []string{"<script", "<img", "&lt;img", "'onclick", "href=\"javascript"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q:\n%s", bad, html)
		}
	}
	for _, want := range []string{"<title>" + s.ID.String() + "</title>", `href="./a/"`, `href="./%C3%A9"`, "2.0 KiB", "5 entries", `href="./javascript;alert%281%29"`} {
		if !strings.Contains(html, want) && !strings.Contains(html, strings.NewReplacer("%28", "(", "%29", ")").Replace(want)) {
			t.Errorf("the page lacks %q:\n%s", want, html)
		}
	}
	if html, want := body(t, ask(t, g, "GET", top+"a/")), "<title>a in "+s.ID.String()+"</title>"; !strings.Contains(html, want) {
		t.Errorf("the page of a folder lacks %q:\n%s", want, html)
	}
	res = ask(t, g, "GET", top+"a/", "Accept: application/json")
	var l struct {
		Schema, Total int
		Path          string
		Items         []struct {
			Name   string
			Folder bool
			Size   int64 `json:"size_bytes"`
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&l); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v, %v", err, res.Header)
	}
	if fmt.Sprint(l) != "{1 2 a [{b true 0} {z false 5}]}" {
		t.Errorf("listed %v", l)
	}
	other := ask(t, g, "GET", top+"a/", "Accept: text/html")
	if a, b := res.Header.Get("Etag"), other.Header.Get("Etag"); a == b || a == "" || b == "" {
		t.Errorf("ETags %q and %q", a, b)
	}
	if again := ask(t, g, "GET", top+"a/", "If-None-Match: "+other.Header.Get("Etag")); again.StatusCode != 304 {
		t.Errorf("the same list: %s", again.Status)
	}
}

// Bytes go out as they come, what is read next is asked for first, and a seek asks
// for what is there.
func TestFileStreamsWhileItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.File(t, 1, 400_000, storetest.Small)
		lib := newShelf(s)
		for i := range s.Nodes {
			lib.away(s.ID, i)
		}
		g := newGateway(lib, func(c *gateway.Config) { c.Ahead = 2 })
		c := newClient(t, g)
		res := c.get("/content/"+s.ID.String(), "")
		synctest.Wait()
		if !slices.Equal(lib.wanted[0], []int{0, 1, 2}) {
			t.Errorf("wanted %v", lib.wanted)
		}
		lib.begin(s.ID, 0, 1)
		r := <-res
		first := make([]byte, s.Manifest.Chunks[0].Size)
		begun := int(s.Blocks[0][0].Size)
		if begun == len(first) {
			t.Fatal("a chunk of one block shows nothing")
		}
		if _, err := io.ReadFull(r.Body, first[:begun]); err != nil {
			t.Fatalf("the first block: %v", err)
		}
		lib.arrive(s.ID, nil, 0)
		if _, err := io.ReadFull(r.Body, first[begun:]); err != nil || string(first) != string(s.Data[:len(first)]) {
			t.Fatalf("the first chunk: %v", err)
		}
		synctest.Wait()
		if last := lib.wanted[len(lib.wanted)-1]; !slices.Equal(last, []int{1, 2, 3}) {
			t.Errorf("then wanted %v", last)
		}
		r.Body.Close()

		end := len(s.Nodes) - 1
		res = c.get("/content/"+s.ID.String(), "bytes=-10")
		synctest.Wait()
		if last := lib.wanted[len(lib.wanted)-1]; !slices.Equal(last, []int{end}) {
			t.Errorf("a seek to the end wanted %v", last)
		}
		lib.arrive(s.ID, nil, end)
		r = <-res
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != string(s.Data[len(s.Data)-10:]) {
			t.Errorf("the end: %q, %v", b, err)
		}
		c.close()
		synctest.Wait()
		if lib.open != 0 {
			t.Errorf("%d contents are open", lib.open)
		}
	})
}

// What doesn't come is an error while there is time for one, and a cut connection
// after that, from where a client goes on.
func TestWhatFailsIsNotTakenForWhole(t *testing.T) {
	for _, x := range []struct {
		fail   error
		status int
	}{
		{nil, http.StatusGatewayTimeout}, // nothing came
		{content.ErrNoSpace, http.StatusInsufficientStorage},
		{content.ErrCorrupt, http.StatusInternalServerError},
		{&gateway.Error{Status: http.StatusGone, Next: "Ask", Err: errors.New("revoked")}, http.StatusGone},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := storetest.File(t, 1, 400_000, storetest.Small)
			lib := newShelf(s)
			lib.away(s.ID, 0, 5)
			c := newClient(t, newGateway(lib))
			res := c.get("/content/"+s.ID.String(), "")
			synctest.Wait()
			if x.fail != nil {
				lib.arrive(s.ID, x.fail)
			}
			r := <-res
			text, _ := io.ReadAll(r.Body)
			if r.StatusCode != x.status || !strings.HasPrefix(string(text), "p2pnode: ") || r.Header.Get("Etag") != "" {
				t.Errorf("%v: %s %v %s", x.fail, r.Status, r.Header, text)
			}
			if r.StatusCode == http.StatusGatewayTimeout && r.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}

			lib.arrive(s.ID, nil, 0)
			res = c.get("/content/"+s.ID.String(), "")
			synctest.Wait()
			if x.fail != nil {
				lib.arrive(s.ID, x.fail)
			}
			r = <-res
			got, err := io.ReadAll(r.Body)
			if r.StatusCode != 200 || err == nil || string(got) != string(s.Data[:len(got)]) || len(got) == 0 {
				t.Errorf("%v: %s, %d bytes, %v", x.fail, r.Status, len(got), err)
			}
			lib.arrive(s.ID, nil, 5)
			r = <-c.get("/content/"+s.ID.String(), fmt.Sprintf("bytes=%d-", len(got)))
			rest, err := io.ReadAll(r.Body)
			if err != nil || string(got)+string(rest) != string(s.Data) {
				t.Errorf("%v: %d bytes and %d more, %v", x.fail, len(got), len(rest), err)
			}
			c.close()
		})
	}
}

// Bytes that rotted on the disk don't go out.
func TestRottenBlocksAreNotServed(t *testing.T) {
	s := storetest.File(t, 1, 50_000, storetest.Small)
	data := slices.Clone(s.Data)
	g := newGateway(newShelf(s))
	s.Data[40_000] ^= 1
	srv := serve(t, g, false)
	res, err := http.Get(srv + "/content/" + s.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err == nil || len(got) > 40_000 || string(got) != string(data[:len(got)]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.File(t, 1, 10_000, storetest.Small)
		lib := newShelf(s)
		lib.away(s.ID, 0)
		g := newGateway(lib, func(c *gateway.Config) { c.Requests = 2 })
		c := newClient(t, g)
		one, two := c.get("/content/"+s.ID.String(), ""), c.get("/content/"+s.ID.String(), "")
		synctest.Wait()
		if res := ask(t, g, "GET", "/content/"+s.ID.String()); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("a third: %s %v", res.Status, res.Header)
		}
		lib.arrive(s.ID, nil, 0)
		for _, res := range []chan *http.Response{one, two} {
			r := <-res
			if b, err := io.ReadAll(r.Body); err != nil || len(b) != 10_000 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		}
		c.close()
	})
}

func TestErrorsOfTheLibrary(t *testing.T) {
	s := storetest.File(t, 1, 10, storetest.Small)
	lib := newShelf(s)
	g := newGateway(lib)
	for _, x := range []struct {
		err    error
		status int
	}{
		{fmt.Errorf("wrapped: %w", content.ErrNotFound), 404},
		{&gateway.Error{Status: 403, Next: "Ask the publisher", Err: errors.New("unsigned")}, 403},
		{&gateway.Error{Status: 410, Err: errors.New("revoked")}, 410},
		{context.Canceled, 503}, // the node stops
		{context.DeadlineExceeded, 504},
		{content.ErrNoSpace, 507},
		{content.ErrFormat, 400},
		{errors.New("unheard of"), 500},
	} {
		lib.fail = x.err
		for _, path := range []string{"/content/" + s.ID.String(), "/content/name"} {
			res := ask(t, g, "GET", path)
			text := body(t, res)
			if res.StatusCode != x.status || !strings.Contains(text, x.err.Error()) || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s, %v: %s %q", path, x.err, res.Status, text)
			}
			if retry := res.Header.Get("Retry-After"); (retry != "") != (x.status == 503 || x.status == 504) {
				t.Errorf("%v: Retry-After %q", x.err, retry)
			}
		}
	}
}

// Names that somebody may point at this machine are not answered.
func TestHostsAreChecked(t *testing.T) {
	s := storetest.File(t, 1, 10, storetest.Small)
	for _, anywhere := range []bool{false, true} {
		srv := serve(t, newGateway(newShelf(s)), anywhere)
		for host, want := range map[string]bool{
			"": true, "127.0.0.1:4741": true, "127.9.9.9": true, "[::1]:80": true, "[::ffff:127.0.0.1]": true, "localhost": true, "LocalHost.:1": true, "a.localhost:1": true,
			"evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example:80": false, "evil-localhost": false, "0x7f.1": false, "2130706433": false,
			"192.168.1.5": anywhere, "[fe80::1]:4741": anywhere,
		} {
			req, err := http.NewRequest("GET", srv+"/content/"+s.ID.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if host != "" {
				req.Host = host
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if (res.StatusCode == 200) != want || !want && res.StatusCode != 421 {
				t.Errorf("Host %q, anywhere %t: %s", host, anywhere, res.Status)
			}
		}
	}
}

func TestListenKeepsToThisMachine(t *testing.T) {
	for _, a := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0", "127.0.0.1", "127.0.0.1.evil.example:0"} {
		if l, err := gateway.Listen(a, false); err == nil {
			l.Close()
			t.Errorf("listens on %s", a)
		}
	}
	for _, a := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := gateway.Listen(a, false)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if _, err := gateway.Listen("127.0.0.1:0", true); err != nil {
		t.Error(err)
	}
}

// A gateway that stops doesn't wait for who reads slowly or waits for chunks.
func TestServeEndsWhatIsUnderWay(t *testing.T) {
	s := storetest.File(t, 1, 8<<20, storetest.Large)
	lib := newShelf(s)
	lib.away(s.ID, len(s.Nodes)-1)
	g := newGateway(lib)
	l, err := gateway.Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, l, false) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /content/%v HTTP/1.1\r\nHost: localhost\r\n\r\n", s.ID)
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Serve doesn't end")
	}
	if lib.open != 0 {
		t.Errorf("%d contents are open", lib.open)
	}
}

// A deadlined recorder is a connection of which the last answer's time is over.
type deadlined struct {
	*httptest.ResponseRecorder
	left bool // time for this answer
}

func (d *deadlined) SetWriteDeadline(at time.Time) error {
	d.left = time.Until(at) > time.Minute
	return nil
}

func (d *deadlined) WriteHeader(status int) {
	if !d.left {
		status = http.StatusRequestTimeout
	}
	d.ResponseRecorder.WriteHeader(status)
}

// What has no body has its own time, too.
func TestEveryAnswerHasTimeToBeWritten(t *testing.T) {
	s := storetest.File(t, 1, 50_000, storetest.Small)
	g := newGateway(newShelf(s))
	for path, want := range map[string]int{"/content/" + s.ID.String(): 200, "/content/" + s.ID.String() + "/file.bin/": 301, "/nowhere": 404} {
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		g.ServeHTTP(w, httptest.NewRequest("HEAD", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
