package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/p2pnode/p2pnode/content"
)

// Content-Security-Policies. Nothing may load, send or run anything; a sandboxed
// page is of no origin either.
const (
	closedPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	pagePolicy   = "sandbox; " + closedPolicy + "; style-src 'unsafe-inline'; img-src data:"
	// A browser that is led to a film or a picture makes a page with it in.
	mediaPolicy = closedPolicy + "; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)

// kinds are the types of what people open in browsers. The system's own tables
// differ from machine to machine, and an answer shall not.
var kinds = map[string]string{
	".aac": "audio/aac", ".flac": "audio/flac", ".m4a": "audio/mp4", ".mp3": "audio/mpeg", ".oga": "audio/ogg", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".wav": "audio/wav", ".weba": "audio/webm",
	".m4v": "video/mp4", ".mkv": "video/x-matroska", ".mov": "video/quicktime", ".mp4": "video/mp4", ".ogv": "video/ogg", ".ts": "video/mp2t", ".webm": "video/webm",
	".avif": "image/avif", ".bmp": "image/bmp", ".gif": "image/gif", ".ico": "image/x-icon", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp",
	".svg": "image/svg+xml", ".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".xhtml": "application/xhtml+xml", ".xml": "text/xml; charset=utf-8",
	".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".log": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".yaml": "application/yaml", ".yml": "application/yaml",
	".pdf": "application/pdf", ".wasm": "application/wasm",
	".7z": "application/x-7z-compressed", ".deb": "application/vnd.debian.binary-package", ".gz": "application/gzip", ".iso": "application/x-iso9660-image", ".msi": "application/x-msi", ".rpm": "application/x-rpm", ".tar": "application/x-tar", ".xz": "application/x-xz", ".zip": "application/zip", ".zst": "application/zstd",
}

// kindOf returns the type of a file by its name, and the policy for it.
func kindOf(name string) (kind, policy string) {
	kind = kinds[strings.ToLower(path.Ext(name))]
	main, _, _ := strings.Cut(kind, "/")
	switch {
	case kind == "":
		return "application/octet-stream", pagePolicy
	case kind != "image/svg+xml" && (main == "audio" || main == "video" || main == "image"):
		return kind, mediaPolicy
	}
	return kind, pagePolicy
}

// content answers for what a person calls name: a file, or the list of a folder.
func (g *Gateway) content(w *writer, r *http.Request, name, rest string, slash bool) error {
	id, err := content.ParseID(name)
	if err != nil {
		return g.named(w, r, name, rest, slash)
	}
	if canonical := id.String(); canonical != name {
		return redirect(w, http.StatusMovedPermanently, join(canonical, rest, slash), r.URL.RawQuery)
	}
	if onlyCached(r) && !g.library.Whole(id) {
		return notCached(id.String())
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c, err := g.library.Open(ctx, id)
	if err != nil {
		return err
	}
	defer c.Close()
	m := c.Manifest()
	i, ok := find(m, strings.TrimSuffix(rest, "/"))
	switch {
	case !ok:
		return &Error{Status: http.StatusNotFound, Next: "See what is in it: /content/" + id.String() + "/", Err: fmt.Errorf("%s has no %.200q", id.Short(), rest)}
	case m.Files[i].Mode.IsDir() && (!slash || rest != "" && !strings.HasSuffix(rest, "/")):
		return redirect(w, http.StatusMovedPermanently, join(name, rest, slash)+"/", r.URL.RawQuery)
	case m.Files[i].Mode.IsDir():
		w.Header().Set("Cache-Control", forever)
		return g.list(w, r, c, i)
	case strings.HasSuffix(rest, "/"):
		return redirect(w, http.StatusMovedPermanently, join(name, strings.TrimSuffix(rest, "/"), true), r.URL.RawQuery)
	}
	w.Header().Set("Cache-Control", forever)
	return g.file(ctx, w, r, c, i)
}

// join makes a path of this gateway.
func join(name, rest string, slash bool) string {
	if slash {
		return "/content/" + name + "/" + rest
	}
	return "/content/" + name
}

// named leads from a name to the content that it stands for now.
func (g *Gateway) named(w *writer, r *http.Request, name, rest string, slash bool) error {
	ctx, cancel := context.WithTimeout(r.Context(), g.cfg.Wait)
	defer cancel()
	id, err := g.library.Resolve(ctx, name)
	if err != nil {
		return err
	}
	return redirect(w, http.StatusTemporaryRedirect, join(id.String(), rest, slash), r.URL.RawQuery)
}

// find returns which file a path means. A content of one file is that file, with
// its name and without.
func find(m *content.Manifest, rest string) (int, bool) {
	if m.Single() {
		return 0, rest == "" || rest == m.Files[0].Path
	}
	if rest == "" {
		return 0, true
	}
	i := slices.IndexFunc(m.Files, func(f content.File) bool { return f.Path == rest })
	return i, i > 0 // the first is ".", which has no name
}

// etag returns the strong ETag of a file.
func etag(c Content, i int) string {
	if c.Manifest().Single() {
		return `"` + c.ID().String() + `"`
	}
	u := url.URL{Path: "/" + c.Manifest().Files[i].Path} // escapes quotes and blanks
	return `"` + c.ID().String() + u.EscapedPath() + `"`
}

// file answers with a file, or a range of it.
func (g *Gateway) file(ctx context.Context, w *writer, r *http.Request, c Content, i int) error {
	f := c.Manifest().Files[i]
	kind, policy := kindOf(f.Path)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("Etag", etag(c, i))
	how := "inline"
	if r.URL.Query().Has("download") {
		how = "attachment"
	}
	h.Set("Content-Disposition", disposition(how, path.Base(f.Path)))
	in := newReader(ctx, c, i, g.cfg, w.flush)
	http.ServeContent(w, r, "", f.ModTime, in)
	return in.err
}

// maxName bounds the bytes of a name that a browser is told: no file system takes
// longer ones.
const maxName = 255

// disposition returns how a browser is to present an answer, and the name under
// which it saves it: in ASCII for the old ones, and as it is (RFC 6266, RFC 8187).
func disposition(how, name string) string {
	name = strings.ToValidUTF8(name[:min(len(name), maxName)], "")
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '/' {
			return '_'
		}
		return r
	}, name)
	ascii := strings.Map(func(r rune) rune {
		if r > '~' || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	text := how + `; filename="` + ascii + `"`
	if ascii != name {
		text += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return text
}

// onlyCached reports whether the caller wants nothing that has to be fetched.
func onlyCached(r *http.Request) bool {
	for _, v := range r.Header.Values("Cache-Control") {
		for d := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(d), "only-if-cached") {
				return true
			}
		}
	}
	return false
}

func notCached(what string) error {
	return &Error{Status: http.StatusPreconditionFailed, Next: "Ask without Cache-Control: only-if-cached, or get it first: p2pnode get", Err: errors.New(what + " is not all here")}
}
