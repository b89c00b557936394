package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/p2pnode/p2pnode/content"
)

// Response types of the trustless gateway specification.
const (
	rawKind = "application/vnd.ipld.raw"
	carKind = "application/vnd.ipld.car"
)

// formats are the values of ?format= that the specification knows, "" for those
// that this gateway has not.
var formats = map[string]string{
	"raw": rawKind, "car": carKind,
	"tar": "", "dag-json": "", "dag-cbor": "", "json": "", "cbor": "",
}

// probe is the empty identity CID, by which clients find out whether somebody is a
// trustless gateway; probeCAR is a CAR with it as root and no section:
// {"roots": [42(h'0001550000')], "version": 1}.
const (
	probe    = "bafkqaaa"
	probeCAR = "\x1b\xa2\x65roots\x81\xd8\x2a\x45\x00\x01\x55\x00\x00\x67version\x01"
)

// A request is what is asked of /ipfs/.
type request struct {
	cid    cid.Cid
	car    bool
	scope  string            // dag-scope, if given
	bytes  string            // entity-bytes, if given
	name   string            // of the file, if one is saved; empty: the CID
	params map[string]string // of the CAR, where they were asked for
	listed bool              // Accept says what the address doesn't, or something else
}

// ipfs answers a request for verifiable data.
func (g *Gateway) ipfs(w *writer, r *http.Request, name, path string) error {
	q, err := parseRequest(r, name)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", forever)
	h.Set("X-Ipfs-Path", "/ipfs/"+name)
	if q.listed {
		h.Set("Content-Location", q.location(name))
	}
	switch {
	case path != "" && !q.car:
		return bad("a block has no path: ask for /ipfs/" + name + " alone")
	case path != "":
		return &Error{Status: http.StatusNotFound, Next: "Its files are at /content/" + name + "/", Err: errors.New("contents are not UnixFS: no path leads into one")}
	case name == probe:
		return g.probe(w, r, q)
	}
	data, err := g.block(r, q.cid)
	switch {
	case errors.Is(err, content.ErrNotFound) && onlyCached(r):
		return notCached(name)
	case err != nil:
		return err
	case q.car:
		return g.car(w, r, q, data)
	}
	h.Set("Content-Type", rawKind)
	h.Set("Etag", `"`+q.cid.String()+`.raw"`)
	h.Set("Content-Disposition", q.attachment(".bin"))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// block returns what a CID names. Its codec says how to read the bytes, and not
// which they are.
func (g *Gateway) block(r *http.Request, c cid.Cid) ([]byte, error) {
	d, err := mh.Decode(c.Hash())
	if err != nil || d.Code != mh.SHA2_256 || d.Length != content.HashSize {
		return nil, fmt.Errorf("%v: %w: everything here has SHA-256", c, content.ErrNotFound)
	}
	data, err := g.library.Block(r.Context(), content.Hash(d.Digest))
	if err != nil {
		return nil, err
	}
	if content.Sum(data) != content.Hash(d.Digest) {
		return nil, fmt.Errorf("%v: %w", c, content.ErrCorrupt)
	}
	return data, nil
}

// probe answers for the CID of nothing.
func (g *Gateway) probe(w *writer, r *http.Request, q request) error {
	kind, data, suffix := rawKind, "", ".bin"
	if q.car {
		kind, data, suffix = q.carType(), probeCAR, ".car"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Etag", `"`+probe+suffix+`"`)
	h.Set("Content-Disposition", q.attachment(suffix))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(data))
	return nil
}

// car answers with a CAR: of a content all, of anything else, which has no links
// that IPLD knows of, the one block.
func (g *Gateway) car(w *writer, r *http.Request, q request, root []byte) error {
	h := w.Header()
	tag := q.cid.String() + ".car"
	if q.scope != "" {
		tag = q.scope + "." + tag
	}
	if q.bytes != "" {
		tag += "." + strings.ReplaceAll(q.bytes, "*", "end")
	}
	h.Set("Content-Type", q.carType())
	h.Set("Etag", `"`+tag+`"`)
	h.Set("Content-Disposition", q.attachment(".car"))
	id, err := content.ParseID(q.cid.String())
	whole := err == nil && (q.scope == "" || q.scope == "all") && g.library.Holds(id)
	if !whole {
		var out bytes.Buffer
		if err := g.library.WriteCAR(&out, q.cid, root); err != nil {
			return err
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(out.Bytes()))
		return nil
	}
	h.Set("Accept-Ranges", "none")
	switch {
	case onlyCached(r) && !g.library.Whole(id):
		return notCached(id.String())
	case matches(r.Header.Get("If-None-Match"), h.Get("Etag")):
		w.WriteHeader(http.StatusNotModified)
		return nil
	case r.Method == http.MethodHead:
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c, err := g.library.Open(ctx, id)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.WriteCAR(ctx, w)
}

// matches reports whether an If-None-Match header has the ETag, weakly or not.
func matches(header, tag string) bool {
	for t := range strings.SplitSeq(header, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

func (q request) attachment(suffix string) string {
	return disposition("attachment", cmp.Or(q.name, q.cid.String()+suffix))
}

// carType returns the type of every CAR here.
func (q request) carType() string { return carKind + "; version=1; order=dfs; dups=y" }

// location returns where the same answer is without an Accept header.
func (q request) location(name string) string {
	v := url.Values{"format": {"raw"}}
	if q.car {
		v.Set("format", "car")
	}
	if q.scope != "" {
		v.Set("dag-scope", q.scope)
	}
	if q.bytes != "" {
		v.Set("entity-bytes", q.bytes)
	}
	for _, p := range carParams {
		if q.params[p.name] != "" {
			v.Set("car-"+p.name, q.params[p.name])
		}
	}
	if q.name != "" {
		v.Set("filename", q.name)
	}
	return "/ipfs/" + name + "?" + v.Encode()
}

func bad(text string) error {
	return &Error{Status: http.StatusBadRequest, Next: "Ask for /ipfs/CID?format=raw or /ipfs/CID?format=car", Err: errors.New(text)}
}

func unacceptable(text string) error {
	return &Error{Status: http.StatusNotAcceptable, Next: "Ask for /ipfs/CID?format=raw or /ipfs/CID?format=car", Err: errors.New(text)}
}

func parseRequest(r *http.Request, name string) (q request, err error) {
	if q.cid, err = cid.Decode(name); err != nil {
		return q, bad(fmt.Sprintf("%.100q is no CID: %v", name, err))
	}
	if r.Header.Get("Service-Worker") == "script" {
		return q, bad("no script is served, and none for a service worker")
	}
	values := r.URL.Query()
	q.name = values.Get("filename")
	if err := q.choose(r, values); err != nil {
		return q, err
	}
	if !q.car {
		return q, nil
	}
	q.scope, q.bytes = values.Get("dag-scope"), values.Get("entity-bytes")
	switch q.scope {
	case "", "all", "entity", "block":
	default:
		return q, bad(fmt.Sprintf("dag-scope=%.20q (want block, entity or all)", q.scope))
	}
	if q.bytes != "" {
		if q.scope == "" {
			q.scope = "entity"
		}
		if err := checkEntityBytes(q.bytes); err != nil {
			return q, err
		}
	}
	return q, nil
}

// carParams are what can be said of a CAR, with the values that those here have.
var carParams = []struct {
	name  string
	known []string
}{
	{"version", []string{"1"}},
	{"order", []string{"dfs", "unk"}}, // any is none in particular
	{"dups", []string{"y"}},
}

// variant notes what a wish for a CAR asks for, where the address doesn't say
// something else, which goes first. It fails if no CAR here is so.
func (q *request) variant(w wish, values url.Values) error {
	q.params = make(map[string]string)
	for _, p := range carParams {
		v := w.params[p.name]
		if values.Has("car-" + p.name) {
			q.listed = q.listed || v != ""
			v = values.Get("car-" + p.name)
		}
		if v != "" && !slices.Contains(p.known, v) {
			return unacceptable(fmt.Sprintf("a CAR with %s=%.20s is not made here (want %s)", p.name, v, strings.Join(p.known, ", ")))
		}
		q.params[p.name] = v
	}
	return nil
}

// choose finds out which response type is wanted: the first that is made here.
func (q *request) choose(r *http.Request, values url.Values) error {
	wishes := accepted(r)
	if !values.Has("format") {
		q.listed = true
		return q.negotiate(wishes, values)
	}
	f := values.Get("format")
	if f == "ipns-record" {
		return bad("an IPNS record is at /ipns/, which is not served")
	}
	kind, known := formats[f]
	switch {
	case !known:
		return bad(fmt.Sprintf("format=%.20q is unknown", f))
	case kind == "":
		return unacceptable("format=" + f + " is not made here")
	}
	wishes = slices.DeleteFunc(wishes, func(w wish) bool { return w.kind == "*/*" })
	same := slices.ContainsFunc(wishes, func(w wish) bool { return w.kind == kind })
	if q.listed = len(wishes) > 0 && !same; same {
		return q.negotiate(slices.DeleteFunc(wishes, func(w wish) bool { return w.kind != kind }), values)
	}
	return q.negotiate([]wish{{kind: kind}}, values)
}

// negotiate takes the first wish that can be granted. If none can, the answer is
// about the first that was for something that is made here.
func (q *request) negotiate(wishes []wish, values url.Values) error {
	err := bad("which response type is wanted isn't said")
	other, variant := false, false
	for _, w := range wishes {
		switch w.kind {
		case rawKind:
			q.car = false
			return nil
		case carKind:
			q.car = true
			e := q.variant(w, values)
			if e == nil {
				return nil
			}
			if !variant {
				err, variant = e, true
			}
		case "application/vnd.ipfs.ipns-record":
			return bad("an IPNS record is at /ipns/, which is not served")
		case "*/*":
		default:
			other = true
		}
	}
	if other && !variant {
		return unacceptable("none of the accepted types is made here")
	}
	return err
}

// checkEntityBytes checks the form from:to, of numbers and "*" for the end. What is
// here can't be read as a run of bytes, so the range itself means nothing.
func checkEntityBytes(s string) error {
	from, to, ok := strings.Cut(s, ":")
	_, errFrom := strconv.ParseInt(from, 10, 64)
	_, errTo := strconv.ParseInt(to, 10, 64)
	if !ok || errFrom != nil || errTo != nil && to != "*" {
		return bad(fmt.Sprintf("entity-bytes=%.40q (want FROM:TO)", s))
	}
	return nil
}
