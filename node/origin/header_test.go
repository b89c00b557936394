package origin

import (
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]byteRange{
		"bytes 0-0/1":    {0, 0, 1},
		"bytes 5-99/100": {5, 99, 100},
		"Bytes 5-99/*":   {5, 99, -1},
		"bytes */100":    {-1, -1, 100},
		"bytes 0-999999999999999998/999999999999999999": {0, 999999999999999998, 999999999999999999},
	} {
		if got, ok := parseContentRange(s); !ok || got != want {
			t.Errorf("%q: %v %t, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes ", "bytes 0-0", "bytes 0/1", "bytes -/1", "bytes 1-0/5", "bytes 0-5/5", "bytes */*", "bytes */",
		"bytes 0-0/1 ", "bytes  0-0/1", "bytes +0-0/1", "bytes 0-0/-1", "items 0-0/1", "bytes 0x0-0/1", "bytes=0-0/1",
		"bytes 0-9999999999999999999/99999999999999999999", "bytes ٠-٠/1",
	} {
		if got, ok := parseContentRange(s); ok {
			t.Errorf("%q was taken: %v", s, got)
		}
	}
}

func TestFileName(t *testing.T) {
	for _, test := range []struct{ disposition, url, want string }{
		{"", "http://h/a/b.iso", "b.iso"},
		{"", "http://h/a/b.iso?x=/c.exe", "b.iso"},
		{"", "http://h/a%2Fb.iso", "b.iso"},
		{"", "http://h/", "download"},
		{"", "http://h", "download"},
		{"", "http://h/..", "download"},
		{"", "http://h/nul.txt", "download"},
		{"", "http://h/%00%01", "download"},
		{"", "http://h/%ff", "download"},
		{"", "http://h/a%3Ab%7C.txt", "a-b-.txt"},
		{"", "http://h/e%CC%81.txt", "\u00e9.txt"}, // composed
		{"", "http://h/" + strings.Repeat("%C3%A9", 300), strings.Repeat("\u00e9", 100)},
		{`attachment; filename="setup.exe"`, "http://h/x", "setup.exe"},
		{`attachment; filename*=UTF-8''%e2%82%ac%20rates.txt`, "http://h/x", "\u20ac rates.txt"},
		{`attachment; filename="C:\\temp\\a.txt"`, "http://h/x", "a.txt"},
		{`attachment; filename="/etc/passwd"`, "http://h/x", "passwd"},
		{`attachment; filename=".."`, "http://h/x", "x"},
		{`attachment; filename="."`, "http://h/x", "x"},
		{`attachment; filename="CON"`, "http://h/x", "x"},
		{`attachment; filename="a. . ."`, "http://h/x", "a"},
		{`attachment`, "http://h/x", "x"},
		{`;;;`, "http://h/x", "x"},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if test.disposition != "" {
			h.Set("Content-Disposition", test.disposition)
		}
		if got := fileName(h, u); got != test.want {
			t.Errorf("%s %s: %q, want %q", test.url, test.disposition, got, test.want)
		}
	}
}

func TestStrongETag(t *testing.T) {
	for s, want := range map[string]bool{
		`"1"`: true, `""`: true, "\"\x80\"": true,
		``: false, `"`: false, `1`: false, `W/"1"`: false, `"a"b"`: false, `"a b"`: false, "\"a\r\n\"": false,
		`"` + strings.Repeat("x", 300) + `"`: false,
	} {
		if strongETag(s) != want {
			t.Errorf("%q: want %t", s, want)
		}
	}
}

// What a server says in headers costs memory in proportion to it, and comes to
// nothing that can't be.
func FuzzHeaders(f *testing.F) {
	f.Add("bytes 0-0/1", `attachment; filename="x"`, "120", `"etag"`, "/a/b")
	f.Add("bytes */5", `attachment; filename*=UTF-8''%e2%82%ac; filename*0=a; filename*1=b`, "Mon, 02 Jan 2006 15:04:05 GMT", `W/"1"`, "/")
	f.Add("bytes 0-/", `inline; filename="..\\..\\CON"`, "-1", "", "/%00/e\u0301")
	f.Fuzz(func(t *testing.T, span, disposition, retry, etag, path string) {
		input := len(span) + len(disposition) + len(retry) + len(etag) + len(path)
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		h := http.Header{"Content-Disposition": {disposition}, "Etag": {etag}, "Last-Modified": {retry}, "Date": {retry}}
		var (
			got   byteRange
			ok    bool
			wait  time.Duration
			name  string
			valid string
		)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, ok = parseContentRange(span)
		wait = parseRetryAfter(retry, now)
		name = fileName(h, &url.URL{Scheme: "http", Host: "h", Path: path})
		valid = validator(h)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(16*input)+64<<10 {
			t.Errorf("%d bytes allocated for %d of input", n, input)
		}
		if ok && (got.first > got.last || got.size >= 0 && got.last >= got.size || got.size < 0 && got.first < 0) {
			t.Errorf("%q: %v", span, got)
		}
		if wait < 0 || wait > maxRetryAfter {
			t.Errorf("%q: %v", retry, wait)
		}
		if err := content.CheckPath(name); err != nil || name == "." || strings.Contains(name, "/") {
			t.Errorf("%q %q: %q %v", disposition, path, name, err)
		}
		if valid != "" && len(valid) > maxValidator {
			t.Errorf("%q: %q", etag, valid)
		}
	})
}
