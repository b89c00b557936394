package origin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

func TestProbe(t *testing.T) {
	data := random(5000)
	when := time.Date(1999, 2, 3, 4, 5, 6, 0, time.UTC) // the bubble begins in 2000
	dated := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x", when, bytes.NewReader(data))
	}
	part := []string{"Content-Range", "bytes 0-0/5000"}
	now := func() string { return time.Now().UTC().Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		path   string
		answer http.HandlerFunc
		want   Resource
		err    error
	}{
		"strong ETag": {"/a/pos%20image.iso?x=1", serves(data, `"1"`), Resource{Size: 5000, Validator: `"1"`, Ranges: true, Name: "pos image.iso"}, nil},
		"weak ETag":   {"/file", serves(data, `W/"1"`), Resource{Size: 5000, Ranges: true, Name: "file"}, nil},
		"Last-Modified": {"/file", dated,
			Resource{Size: 5000, Validator: when.Format(http.TimeFormat), Ranges: true, Name: "file", Modified: when}, nil},
		"modified just now": {"/file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", now())
			serves(data, "")(w, r)
		}, Resource{Size: 5000, Ranges: true, Name: "file", Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}, nil},
		"name": {"/download.php?id=7", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Disposition", `attachment; filename="../../etc/set:up.exe"`)
			serves(data, `"1"`)(w, r)
		}, Resource{Size: 5000, Validator: `"1"`, Ranges: true, Name: "set-up.exe"}, nil},
		"no ranges": {"/", answers(200, string(data[:10]), "Content-Length", "10"), Resource{Size: 10, Name: "download"}, nil},

		"portal":         {"/file", portal302, Resource{}, ErrPage},
		"no length":      {"/file", endless(200), Resource{}, ErrLength},
		"unknown length": {"/file", answers(206, "x", "Content-Range", "bytes 0-0/*"), Resource{}, ErrLength},
		"other bytes":    {"/file", answers(206, "xy", "Content-Range", "bytes 0-1/5000"), Resource{}, ErrLength},
		"too much":       {"/file", answers(206, "xy", part...), Resource{}, ErrLength},
		"too large":      {"/file", answers(206, "x", "Content-Range", "bytes 0-0/"+strconv.FormatInt(content.MaxSize+1, 10)), Resource{}, ErrLength},
		"encoded":        {"/file", answers(206, "x", append(part, "Content-Encoding", "gzip")...), Resource{}, ErrEncoded},
		"empty":          {"/file", serves(nil, ""), Resource{}, ErrLength},
		"404":            {"/file", answers(404, ""), Resource{}, content.ErrNotFound},
		"503":            {"/file", answers(503, ""), Resource{}, ErrStatus},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, test.answer, Config{})
				defer l.close()
				got, err := l.Probe(t.Context(), "http://origin.test"+test.path)
				if !errors.Is(err, test.err) {
					t.Fatalf("%v, want %v", err, test.err)
				}
				if test.err != nil {
					if n := l.listener.read.Load(); n > 128<<10 {
						t.Errorf("%d bytes were read", n)
					}
					return
				}
				test.want.URL = "http://origin.test" + test.path
				if got != test.want {
					t.Errorf("got  %+v\nwant %+v", got, test.want)
				}
			})
		})
	}
}

// A brokenServer ends its answers after so many bytes of body.
func brokenServer(data []byte, etag func() string, gives func(request int) int) http.HandlerFunc {
	requests := 0
	return func(w http.ResponseWriter, r *http.Request) {
		n := gives(requests)
		requests++
		if n < 0 {
			serves(data, etag())(w, r)
			return
		}
		serves(data, etag())(&limitedWriter{w, n}, r)
	}
}

type limitedWriter struct {
	http.ResponseWriter
	left int
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b[:min(len(b), w.left)])
	w.left -= n
	if w.left == 0 {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestStreamGoesOnAfterABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1 << 20)
		version := `"1"`
		var ranges []string
		h := brokenServer(data, func() string { return version }, func(i int) int {
			if i == 0 || i > 8 { // the probe, and when all breaks are over
				return -1
			}
			return 100_000
		})
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			ranges = append(ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
			h(w, r)
		}, Config{})
		defer l.close()
		r, err := l.Probe(t.Context(), here)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Open(t.Context(), r, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if len(ranges) != 10 || ranges[2] != `bytes=100000-1048575 "1"` {
			t.Errorf("asked for %q", ranges)
		}
	})
}

func TestStreamEndsWhereItCannotGoOn(t *testing.T) {
	data := random(1 << 20)
	always := func(n int) func(int) int { return func(int) int { return n } }
	once := func(i int) int {
		if i == 0 {
			return 1000
		}
		return -1
	}
	versions := func() func() string {
		n := 0
		return func() string { n++; return strconv.Quote(strconv.Itoa(n)) }
	}
	one := func() string { return `"1"` }
	whole := func(r Resource) Resource { r.Ranges, r.Validator = false, ""; return r }
	r := Resource{URL: here, Size: 1 << 20, Validator: `"1"`, Ranges: true}
	for name, test := range map[string]struct {
		resource Resource
		answer   http.HandlerFunc
		want     error
		got      int
	}{
		"it changed":               {r, brokenServer(data, versions(), once), content.ErrChanged, 1000},
		"versions can't be told":   {Resource{URL: here, Size: 1 << 20, Ranges: true}, brokenServer(data, one, once), ErrBroken, 1000},
		"no ranges":                {whole(r), func(w http.ResponseWriter, _ *http.Request) { breaksOff2(w, 1<<20, 1000) }, ErrBroken, 1000},
		"no headway":               {r, brokenServer(data, one, always(0)), ErrBroken, 0},
		"server fails on":          {r, answers(503, ""), ErrStatus, 0},
		"server wants a long rest": {r, answers(503, "", "Retry-After", "86400"), ErrStatus, 0},
		"gone":                     {r, answers(404, ""), content.ErrNotFound, 0},
		"a page, no ranges":        {whole(r), answers(200, "<html>", "Content-Type", "text/html"), ErrPage, 0},
		"another size, no ranges":  {whole(r), serves(data[1:], ""), ErrLength, 0},
		"endless, no ranges":       {whole(r), endless(200), ErrLength, 0},
		"encoded, no ranges":       {whole(r), answers(200, "x", "Content-Encoding", "gzip"), ErrEncoded, 0},
		"hangs":                    {whole(r), hangs, ErrSlow, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, test.answer, Config{})
				defer l.close()
				s, err := l.Open(t.Context(), test.resource, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				begun := time.Now()
				got, err := io.ReadAll(s)
				if !errors.Is(err, test.want) || len(got) != test.got {
					t.Errorf("%d bytes, %v; want %d, %v", len(got), err, test.got, test.want)
				}
				if took := time.Since(begun); took > 3*time.Minute {
					t.Errorf("gave up after %v", took)
				}
				if n := len(l.requests()); n > maxTries+1 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// breaksOff2 is breaksOff for an answer with the whole.
func breaksOff2(w http.ResponseWriter, size, gives int) {
	w.Header().Set("Content-Length", strconv.Itoa(size))
	_, _ = w.Write(make([]byte, gives))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestStreamWithoutRangesAndFromTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(100_000)
		l := newLab(t, serves(data, `"1"`), Config{})
		defer l.close()
		for from, r := range map[int64]Resource{
			0:       {URL: here, Size: 100_000},
			99_999:  {URL: here, Size: 100_000, Ranges: true},
			100_000: {URL: here, Size: 100_000, Ranges: true},
		} {
			s, err := l.Open(t.Context(), r, from)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data[from:]) {
				t.Errorf("%d bytes from %d on, %v", len(got), from, err)
			}
			s.Close()
		}
		for from, r := range map[int64]Resource{
			1:       {URL: here, Size: 100_000},
			-1:      {URL: here, Size: 100_000, Ranges: true},
			100_001: {URL: here, Size: 100_000, Ranges: true},
		} {
			if _, err := l.Open(t.Context(), r, from); !errors.Is(err, ErrNoRange) {
				t.Errorf("from %d: %v", from, err)
			}
		}
	})
}

func TestStreamEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, answers(503, ""), Config{})
		defer l.close()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		s, err := l.Open(ctx, Resource{URL: here, Size: 1000, Validator: `"1"`, Ranges: true}, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := io.ReadAll(s); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
