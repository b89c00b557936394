package origin

import (
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of what a header may say. Longer ones are as if they were not there.
const (
	maxValidator   = 256      // bytes
	maxDisposition = 4 << 10  // bytes
	maxName        = 200      // bytes: leaves room for a suffix in every file system
	maxDigits      = 18       // of a number: no int64 overflows
	maxHeaders     = 64 << 10 // bytes of all
)

// maxRetryAfter is the longest rest that a server can ask for.
const maxRetryAfter = 24 * time.Hour

// A byteRange is a Content-Range (RFC 9110 section 14.4).
type byteRange struct {
	first, last int64 // inclusive; -1 in an answer 416
	size        int64 // of the whole; -1 if unknown
}

// parseContentRange reads "bytes 0-99/1234", "bytes 0-99/*" and "bytes */1234".
func parseContentRange(s string) (byteRange, bool) {
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return byteRange{}, false
	}
	span, total, ok := strings.Cut(rest, "/")
	if !ok {
		return byteRange{}, false
	}
	r := byteRange{-1, -1, -1}
	if total != "*" {
		if r.size, ok = number(total); !ok {
			return byteRange{}, false
		}
	}
	if span == "*" {
		return r, total != "*"
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return byteRange{}, false
	}
	var ok1, ok2 bool
	r.first, ok1 = number(first)
	r.last, ok2 = number(last)
	if !ok1 || !ok2 || r.last < r.first || r.size >= 0 && r.last >= r.size {
		return byteRange{}, false
	}
	return r, true
}

// number reads digits and nothing else.
func number(s string) (int64, bool) {
	if len(s) == 0 || len(s) > maxDigits {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseRetryAfter reads seconds or a date; 0 if it is neither, or over.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if n, ok := number(s); ok {
		return time.Duration(min(n, int64(maxRetryAfter/time.Second))) * time.Second
	}
	if len(s) > maxValidator {
		return 0
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), maxRetryAfter)
}

// validator returns what tells this version of a resource from others, for
// If-Range: a strong ETag, else a Last-Modified that is strong as the answer was
// made a second later at least (RFC 9110 section 8.8.2.2), else nothing.
func validator(h http.Header) string {
	if etag := h.Get("ETag"); strongETag(etag) {
		return etag
	}
	changed, ok := lastModified(h)
	if !ok {
		return ""
	}
	answered, err := http.ParseTime(h.Get("Date"))
	if err != nil || answered.Sub(changed) < time.Second {
		return ""
	}
	return h.Get("Last-Modified")
}

// strongETag reports whether s is an entity-tag that isn't weak.
func strongETag(s string) bool {
	if len(s) < 2 || len(s) > maxValidator || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for _, c := range []byte(s[1 : len(s)-1]) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

func lastModified(h http.Header) (time.Time, bool) {
	s := h.Get("Last-Modified")
	if len(s) > maxValidator {
		return time.Time{}, false
	}
	t, err := http.ParseTime(s)
	return t, err == nil
}

// sameVersion reports whether an answer may be of the version that has this
// validator. One that says nothing may: If-Range was asked.
func sameVersion(h http.Header, validator string) bool {
	name := "Last-Modified"
	if strings.HasPrefix(validator, `"`) {
		name = "ETag"
	}
	got := h.Get(name)
	return validator == "" || got == "" || got == validator
}

// isPage reports whether an answer is for a person to read.
func isPage(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind = strings.TrimSpace(kind)
	return strings.EqualFold(kind, "text/html") || strings.EqualFold(kind, "application/xhtml+xml")
}

// isEncoded reports whether a body isn't the resource's bytes as they are.
func isEncoded(h http.Header) bool {
	for _, v := range h.Values("Content-Encoding") {
		if v = strings.TrimSpace(v); v != "" && !strings.EqualFold(v, "identity") {
			return true
		}
	}
	return false
}

// fileName returns what a file from u is to be called: as its server says
// (Content-Disposition, RFC 6266), else like the last part of the address. It is
// a name that content.CheckPath takes for a file.
func fileName(h http.Header, u *url.URL) string {
	if d := h.Get("Content-Disposition"); len(d) <= maxDisposition {
		if _, params, err := mime.ParseMediaType(d); err == nil {
			if name, ok := cleanName(params["filename"]); ok {
				return name
			}
		}
	}
	if name, ok := cleanName(path.Base(u.Path)); ok {
		return name
	}
	return "download"
}

// cleanName makes of s a name that every system can write, if enough is left.
func cleanName(s string) (string, bool) {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	if len(s) > maxDisposition || !utf8.ValidString(s) {
		return "", false
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || strings.ContainsRune(`<>:"|?*`, r) {
			return '-'
		}
		return r
	}, norm.NFC.String(s))
	for len(s) > maxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	s = strings.TrimRight(norm.NFC.String(s), ". ")
	if strings.Trim(s, "-. ") == "" || content.CheckPath(s) != nil {
		return "", false
	}
	return s, true
}
