package gateway

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A wish is a media type that an Accept header lists, with its parameters.
type wish struct {
	kind    string
	params  map[string]string
	quality float64
}

// maxWishes bounds what of an Accept header is looked at.
const maxWishes = 32

// accepted returns what the Accept headers list, the best first (RFC 9110, 12.5.1).
// What is no media type is left out.
func accepted(r *http.Request) []wish {
	var all []wish
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil || len(all) == maxWishes {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(text, 64); err != nil || q <= 0 || q > 1 {
					continue // 0 is "not that"
				}
				delete(params, "q")
			}
			all = append(all, wish{kind, params, q})
		}
	}
	slices.SortStableFunc(all, func(a, b wish) int { return cmp.Compare(b.quality, a.quality) })
	return all
}

// preferred returns which of the kinds is wished for most; the first if none is
// named.
func preferred(wishes []wish, kinds ...string) string {
	for _, w := range wishes {
		if slices.Contains(kinds, w.kind) {
			return w.kind
		}
	}
	return kinds[0]
}
