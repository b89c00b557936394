package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// listVersion is part of a list's ETag: a new one when the page or the JSON changes.
const listVersion = "2"

// maxListed is how many entries of a folder are shown. Whoever has more knows how
// to ask for them by name.
const maxListed = 10_000

// An entry is a file or folder in a list.
type entry struct {
	Name    string    `json:"name"`
	Folder  bool      `json:"folder"`
	Size    int64     `json:"size_bytes"`
	ModTime time.Time `json:"modified"`
}

// Link returns the address of an entry, relative to its folder's.
func (e entry) Link() string {
	u := url.URL{Path: "./" + e.Name} // a name may have a colon, and look like a scheme
	if e.Folder {
		u.Path += "/"
	}
	return u.String()
}

// Bytes returns the size for people.
func (e entry) Bytes() string {
	if e.Folder {
		return ""
	}
	return humanize.IBytes(uint64(e.Size))
}

// Date returns the modification time, to the minute.
func (e entry) Date() string { return e.ModTime.UTC().Format("2006-01-02 15:04") }

// A listing is a folder with what is in it.
type listing struct {
	Schema  int     `json:"schema"`
	Content string  `json:"content"`
	Path    string  `json:"path"`
	Total   int     `json:"total"` // entries of the folder
	Items   []entry `json:"items"` // the first of them
}

// Top reports whether the folder is the content's own.
func (l listing) Top() bool { return l.Path == "." }

// Title says which folder it is.
func (l listing) Title() string {
	if l.Top() {
		return l.Content
	}
	return l.Path + " in " + l.Content
}

// page has no script, loads nothing, and says in words what it shows.
var page = template.Must(template.New("folder").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 1rem auto; max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.2rem; overflow-wrap: anywhere }
td, th { padding: 0 1rem 0 0; text-align: left; overflow-wrap: anywhere }
td.size { text-align: right; white-space: nowrap }
</style>
<h1>{{.Title}}</h1>
<table>
<tr><th scope="col">Name</th><th scope="col">Size</th><th scope="col">Modified (UTC)</th></tr>
{{- if not .Top}}
<tr><td><a href="../">parent folder</a></td><td></td><td></td></tr>
{{- end}}
{{- range .Items}}
<tr><td><a href="{{.Link}}">{{.Name}}{{if .Folder}}/{{end}}</a></td><td class="size">{{.Bytes}}</td><td>{{.Date}}</td></tr>
{{- end}}
</table>
<p>{{.Total}} entries{{if gt .Total (len .Items)}}, the first {{len .Items}} are shown{{end}}.</p>
</html>
`))

// list answers with what is in a folder.
func (g *Gateway) list(w *writer, r *http.Request, c Content, folder int) error {
	l := listing{Schema: 1, Content: c.ID().String(), Path: c.Manifest().Files[folder].Path, Items: []entry{}}
	prefix := ""
	if !l.Top() {
		prefix = l.Path + "/"
	}
	for _, f := range c.Manifest().Files[folder+1:] {
		name, ok := strings.CutPrefix(f.Path, prefix)
		if !ok {
			break // in the manifest's order all of a folder stands together
		}
		if strings.Contains(name, "/") {
			continue
		}
		if l.Total++; l.Total <= maxListed {
			l.Items = append(l.Items, entry{name, f.Mode.IsDir(), f.Size, f.ModTime})
		}
	}
	h := w.Header()
	h.Set("Vary", "Accept")
	kind, suffix := "text/html; charset=utf-8", "html"
	if preferred(accepted(r), "text/html", "application/json") == "application/json" {
		kind, suffix = "application/json", "json"
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", closedPolicy+"; style-src 'unsafe-inline'")
	h.Set("Etag", fmt.Sprintf("\"DirIndex-%s-%s.%s\"", listVersion, strings.Trim(etag(c, folder), `"`), suffix))
	var out bytes.Buffer
	var err error
	if suffix == "json" {
		err = json.NewEncoder(&out).Encode(l)
	} else {
		err = page.Execute(&out, l)
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", l.Path, err)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(out.Bytes()))
	return nil
}
