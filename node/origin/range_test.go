package origin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

const here = "http://origin.test/file.bin"

// serves serves data as a good server does.
func serves(data []byte, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(w, r, "file.bin", time.Time{}, bytes.NewReader(data))
	}
}

func (l *lab) get(ctx context.Context, r Resource, from, size int64) ([]byte, error) {
	p, err := l.Range(ctx, r, from, size)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return io.ReadAll(p)
}

func TestRangeGivesWhatWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(300_000)
		var agent, referer string
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			agent, referer = r.UserAgent(), r.Referer()
			serves(data, `"1"`)(w, r)
		}, Config{})
		defer l.close()
		r := Resource{URL: here, Size: int64(len(data)), Validator: `"1"`}
		for _, span := range [][2]int64{{0, 1}, {0, 300_000}, {299_999, 1}, {70_000, 65_537}, {1, 2}} {
			got, err := l.get(t.Context(), r, span[0], span[1])
			if err != nil || !bytes.Equal(got, data[span[0]:span[0]+span[1]]) {
				t.Errorf("%v: %d bytes, %v", span, len(got), err)
			}
		}
		for _, span := range [][2]int64{{-1, 1}, {0, 0}, {0, 300_001}, {300_000, 1}, {1, 1<<63 - 1}} {
			if _, err := l.get(t.Context(), r, span[0], span[1]); err == nil {
				t.Errorf("%v was asked for", span)
			}
		}
		if n := l.listener.dials.Load(); n != 1 {
			t.Errorf("%d connections for requests one after the other", n)
		}
		if agent != "p2pnode" || referer != "" {
			t.Errorf("told the server User-Agent %q, Referer %q", agent, referer)
		}
	})
}

// answers answers with these headers and this body, whatever is asked.
func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// endless never ends a body that begins as it should.
func endless(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		junk := make([]byte, 32<<10)
		for {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}
}

// breaksOff promises size bytes and gives fewer.
func breaksOff(w http.ResponseWriter, size, gives int, headers ...string) {
	for i := 0; i < len(headers); i += 2 {
		w.Header().Set(headers[i], headers[i+1])
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(make([]byte, gives))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Each wrong answer is refused for what it is, with no more of it read than the
// headers say is right, and its server is left alone for 30 s at least.
func TestWrongAnswersAreRefused(t *testing.T) {
	const size, span = 1 << 20, 100_000
	part := []string{"Content-Range", "bytes 0-99999/1048576"}
	with := func(more ...string) []string { return append(append([]string{}, part...), more...) }
	right := strings.Repeat("x", span)
	for name, test := range map[string]struct {
		answer    http.HandlerFunc
		want      error
		validator string
	}{
		"portal, 200 and HTML":   {answers(200, "<html>log in", "Content-Type", "text/html; charset=utf-8"), ErrPage, ""},
		"portal, xhtml":          {answers(200, "<html>log in", "Content-Type", "Application/XHTML+xml"), ErrPage, ""},
		"200 of the whole":       {answers(200, strings.Repeat("x", size), "Content-Type", "application/octet-stream"), ErrNoRange, ""},
		"200, endless":           {endless(200), ErrNoRange, ""},
		"200, endless HTML":      {endless(200, "Content-Type", "text/html"), ErrPage, ""},
		"206, endless":           {endless(206, part...), ErrLength, ""},
		"206, one byte too many": {answers(206, right+"y", part...), ErrLength, ""},
		"206, too short":         {answers(206, right[1:], part...), ErrLength, ""},
		"206, ends early": {func(w http.ResponseWriter, _ *http.Request) { // chunked
			w.Header().Set("Content-Range", part[1])
			w.WriteHeader(206)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, right[1:])
		}, ErrLength, ""},
		"206, breaks off":               {func(w http.ResponseWriter, _ *http.Request) { breaksOff(w, span, 1000, part...) }, ErrBroken, ""},
		"206, of another size":          {answers(206, right, "Content-Range", "bytes 0-99999/1048577"), ErrLength, ""},
		"206, of an unknown size":       {answers(206, right, "Content-Range", "bytes 0-99999/*"), ErrLength, ""},
		"206, another range":            {answers(206, right, "Content-Range", "bytes 1-100000/1048576"), ErrLength, ""},
		"206, a shorter range":          {answers(206, right[1:], "Content-Range", "bytes 0-99998/1048576"), ErrLength, ""},
		"206, no range":                 {answers(206, right), ErrLength, ""},
		"206, two ranges":               {answers(206, right, with(part...)...), ErrLength, ""},
		"206, nonsense":                 {answers(206, right, "Content-Range", "bytes 0-99999999999999999999999/1048576"), ErrLength, ""},
		"206, several parts":            {answers(206, right, "Content-Type", "multipart/byteranges; boundary=x"), ErrLength, ""},
		"206, encoded":                  {answers(206, right, with("Content-Encoding", "gzip")...), ErrEncoded, ""},
		"206, encoded twice":            {answers(206, right, with("Content-Encoding", "identity", "Content-Encoding", "br")...), ErrEncoded, ""},
		"206, another version":          {answers(206, right, with("ETag", `"2"`)...), content.ErrChanged, `"1"`},
		"206, weak version":             {answers(206, right, with("ETag", `W/"1"`)...), content.ErrChanged, `"1"`},
		"206, modified since":           {answers(206, right, with("Last-Modified", "Mon, 02 Jan 2006 15:04:06 GMT")...), content.ErrChanged, "Mon, 02 Jan 2006 15:04:05 GMT"},
		"200, another version":          {answers(200, right), content.ErrChanged, `"1"`},
		"412":                           {answers(412, ""), content.ErrChanged, ""},
		"416":                           {answers(416, "", "Content-Range", "bytes */5"), content.ErrChanged, ""},
		"404":                           {answers(404, "<html>"), content.ErrNotFound, ""},
		"410":                           {answers(410, ""), content.ErrNotFound, ""},
		"403":                           {answers(403, ""), ErrStatus, ""},
		"407":                           {answers(407, ""), ErrStatus, ""},
		"500":                           {answers(500, ""), ErrStatus, ""},
		"511, network wants a login":    {answers(511, "<html>"), ErrStatus, ""},
		"204":                           {answers(204, ""), ErrStatus, ""},
		"302 to nowhere":                {answers(302, ""), ErrStatus, ""},
		"304":                           {answers(304, ""), ErrStatus, ""},
		"302 to a login page":           {portal302, ErrPage, ""},
		"302 to itself":                 {answers(302, "", "Location", "/file.bin"), ErrRedirect, ""},
		"302 to another scheme":         {answers(302, "", "Location", "ftp://origin.test/file.bin"), ErrRedirect, ""},
		"302 with a password":           {answers(302, "", "Location", "http://u:p@origin.test/file.bin"), ErrRedirect, ""},
		"302, endless":                  {endless(302, "Location", "/file.bin"), ErrRedirect, ""},
		"headers without end":           {answers(206, right, with("X", strings.Repeat("y", 80<<10))...), ErrUnreachable, ""},
		"no answer":                     {hangs, ErrSlow, ""},
		"302 that hangs":                {trickle(302, 1, time.Hour, "Location", "/file.bin"), ErrSlow, ""},
		"206 that hangs":                {trickle(206, 1000, time.Hour, part...), ErrSlow, ""},
		"206 that drips":                {trickle(206, 1000, time.Second, part...), ErrSlow, ""},
		"connection closed, no answer":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrBroken, ""},
		"206, hangs after the last one": {trickle(206, span, time.Hour, part...), ErrSlow, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, test.answer, Config{})
				defer l.close()
				r := Resource{URL: here, Size: size, Validator: test.validator}
				got, err := l.get(t.Context(), r, 0, span)
				if !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
				if len(got) > span {
					t.Errorf("%d bytes were given for %d", len(got), span)
				}
				// What the connection reads ahead is its buffer.
				if n := l.listener.read.Load(); n > span+80<<10 {
					t.Errorf("%d bytes were read", n)
				}
				if rest := time.Until(l.Resting(here)); rest < 30*time.Second-time.Nanosecond || rest > time.Minute {
					t.Errorf("rests for %v", rest)
				}
				asked := len(l.requests())
				if _, err := l.get(t.Context(), r, 0, span); !errors.Is(err, ErrResting) {
					t.Errorf("again at once: %v", err)
				}
				if len(l.requests()) != asked {
					t.Error("asked while it rests")
				}
			})
		})
	}
}

func portal302(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/login" {
		answers(200, "<html>log in", "Content-Type", "text/html")(w, r)
		return
	}
	http.Redirect(w, r, "http://portal.test/login?from=here", http.StatusFound)
}

// hangs answers when the client has gone.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// trickle gives some bytes, then one each time this passes.
func trickle(status, first int, every time.Duration, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write(make([]byte, first))
		for {
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(every):
			case <-r.Context().Done():
				return
			}
			_, _ = w.Write([]byte{0})
		}
	}
}

func TestSlowReaderIsNoSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(64 << 10)
		l := newLab(t, serves(data, ""), Config{})
		defer l.close()
		p, err := l.Range(t.Context(), Resource{URL: here, Size: int64(len(data))}, 0, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		buf := make([]byte, 4<<10)
		for range 16 {
			time.Sleep(time.Minute)
			if _, err := io.ReadFull(p, buf); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Read(buf); err != io.EOF {
			t.Errorf("after the last byte: %v", err)
		}
	})
}

func TestRedirectsAreFollowedWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1000)
		var referers []string
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			referers = append(referers, r.Referer())
			var n int
			if _, err := fmt.Sscanf(r.URL.Path, "/hop/%d", &n); err == nil && n > 0 {
				http.Redirect(w, r, fmt.Sprintf("http://host%d.test/hop/%d?secret=1", n, n-1), http.StatusFound)
				return
			}
			serves(data, "")(w, r)
		}, Config{})
		defer l.close()
		get := func(hops int) error {
			_, err := l.get(t.Context(), Resource{URL: fmt.Sprintf("http://origin%d.test/hop/%d", hops, hops), Size: 1000}, 0, 1000)
			return err
		}
		if err := get(5); err != nil {
			t.Error(err)
		}
		if err := get(6); !errors.Is(err, ErrRedirect) {
			t.Errorf("6 hops: %v", err)
		}
		for _, r := range referers {
			if r != "" {
				t.Errorf("Referer %q was told", r)
			}
		}
	})
}

// The certificate of httptest is for example.com.
func testCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Certificates[0], pool
}

func TestTLS(t *testing.T) {
	cert, pool := testCertificate(t)
	data := random(1000)
	trusting := Config{TLS: &tls.Config{RootCAs: pool}}
	toHTTP := answers(302, "", "Location", "http://example.com/file.bin")
	for name, test := range map[string]struct {
		url    string
		cfg    Config
		answer http.HandlerFunc
		plain  bool
		want   error
	}{
		"right":                          {"https://example.com/file.bin", trusting, serves(data, ""), false, nil},
		"unknown authority":              {"https://example.com/file.bin", Config{}, serves(data, ""), false, ErrTLS},
		"certificate of another":         {"https://origin.test/file.bin", trusting, serves(data, ""), false, ErrTLS},
		"no TLS: a portal's plain HTTP":  {"https://example.com/file.bin", trusting, serves(data, ""), true, ErrTLS},
		"redirected from https to http":  {"https://example.com/file.bin", trusting, toHTTP, false, ErrRedirect},
		"redirected within https, loops": {"https://example.com/file.bin", trusting, answers(302, "", "Location", "/x"), false, ErrRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The bubble's clock says 2000; the certificate holds from 1970 on.
				certs := []tls.Certificate{cert}
				if test.plain {
					certs = nil
				}
				l := newLab(t, test.answer, test.cfg, certs...)
				defer l.close()
				got, err := l.get(t.Context(), Resource{URL: test.url, Size: 1000}, 0, 1000)
				if !errors.Is(err, test.want) || test.want == nil && !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v; want %v", len(got), err, test.want)
				}
				if test.want != nil && l.Resting(test.url).IsZero() {
					t.Error("doesn't rest")
				}
			})
		})
	}
}

func TestProxyIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1000)
		var asked string
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			asked = r.RequestURI
			serves(data, "")(w, r)
		}, Config{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.test:3128") }})
		defer l.close()
		if _, err := l.get(t.Context(), Resource{URL: here, Size: 1000}, 0, 1000); err != nil || asked != here {
			t.Errorf("asked for %q, %v", asked, err)
		}
	})
}
