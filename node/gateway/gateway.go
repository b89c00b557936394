package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	maxURL = 8 << 10 // bytes of a request's path and query

	// writeTimeout cuts off who doesn't read. A paused player doesn't either, and
	// asks for the rest when it goes on.
	writeTimeout = 2 * time.Minute

	// retryAfter is what busy and late answers ask for, in seconds.
	retryAfter = 5

	// forever is what the IPFS specification asks for: about 48 weeks.
	forever = "public, max-age=29030400, immutable"
)

// A Config says how a Gateway works. Zero means the default.
type Config struct {
	// Requests bounds what is answered at once; more get 503. A player has two or
	// three. Default 64.
	Requests int
	// Wait is how long an answer waits for the next block that it needs. Default
	// 60 s: what comes before it of a chunk of 4 MiB, the largest usual one, at 600
	// kbit/s.
	Wait time.Duration
	// Ahead is how many chunks beyond the one that is read are asked for first.
	// Default 4: about 4 MiB, 5 s of video at 6 Mbit/s.
	Ahead int
}

// A Gateway answers HTTP requests for contents.
type Gateway struct {
	library Library
	cfg     Config
	log     *zap.Logger
	busy    chan struct{} // a token for each request under way
}

// New returns a gateway to what library has.
func New(library Library, cfg Config, log *zap.Logger) *Gateway {
	cfg.Requests = cmp.Or(cfg.Requests, 64)
	cfg.Wait = cmp.Or(cfg.Wait, time.Minute)
	cfg.Ahead = cmp.Or(cfg.Ahead, 4)
	return &Gateway{library: library, cfg: cfg, log: log, busy: make(chan struct{}, cfg.Requests)}
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &writer{ResponseWriter: w, rc: http.NewResponseController(w)}
	err := g.serve(out, r)
	switch {
	case err == nil:
		out.finish()
	case out.sent:
		// The length was promised, so the connection ends here: the client sees that
		// it hasn't got all.
		g.log.Debug("answer cut short", zap.String("path", r.URL.Path), zap.Error(err))
		panic(http.ErrAbortHandler)
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // nobody waits for the answer, or the server ends
	default:
		g.refuse(out, r, err)
	}
}

func (g *Gateway) serve(w *writer, r *http.Request) error {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", closedPolicy)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		return &Error{Status: http.StatusMethodNotAllowed, Err: fmt.Errorf("%.20q is not served: contents are for reading", r.Method)}
	case len(r.RequestURI) > maxURL:
		return &Error{Status: http.StatusRequestURITooLong, Err: fmt.Errorf("an address of %d bytes is over the limit of %d", len(r.RequestURI), maxURL)}
	case r.ContentLength != 0:
		h.Set("Connection", "close") // it isn't read
		return &Error{Status: http.StatusBadRequest, Err: errors.New("a request for content has no body")}
	case foreign(r):
		return &Error{Status: http.StatusForbidden, Next: "Open it in a window of its own", Err: errors.New("a page of another site asks for it")}
	}
	select {
	case g.busy <- struct{}{}:
		defer func() { <-g.busy }()
	default:
		return &Error{Status: http.StatusServiceUnavailable, Next: "Try again in a moment", Err: fmt.Errorf("%d requests are under way already", g.cfg.Requests)}
	}
	space, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name, path, slash := strings.Cut(rest, "/")
	switch {
	case space == "content" && name != "":
		return g.content(w, r, name, path, slash)
	case space == "ipfs" && name != "":
		return g.ipfs(w, r, name, path)
	}
	return &Error{Status: http.StatusNotFound, Next: "See what there is: p2pnode content ls", Err: errors.New("nothing is served here: want /content/ID, /content/NAME or /ipfs/CID")}
}

// foreign reports whether a page of another site (another port is one) is behind
// the request, other than by a link that somebody followed. Browsers say so;
// others say nothing.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// statuses is how errors of a library become answers, first match first.
var statuses = []struct {
	err    error
	status int
	next   string
}{
	{content.ErrNotFound, http.StatusNotFound, "See what is here: p2pnode content ls. See who is connected: p2pnode peer ls"},
	{content.ErrNoSpace, http.StatusInsufficientStorage, "Make room: p2pnode content ls, p2pnode content rm"},
	{content.ErrCorrupt, http.StatusInternalServerError, "What is damaged is fetched anew after: p2pnode content verify ID"},
	{content.ErrID, http.StatusBadRequest, ""},
	{content.ErrFormat, http.StatusBadRequest, "Want a content id, NAME or NAME@VERSION: p2pnode content ls"},
	{context.DeadlineExceeded, http.StatusGatewayTimeout, "Try again: what came stays. See who is connected: p2pnode peer ls"},
	{context.Canceled, http.StatusServiceUnavailable, "Try again in a moment"},
}

// refuse answers with an error, as text that says what to do.
func (g *Gateway) refuse(w *writer, r *http.Request, err error) {
	answer := Error{Status: http.StatusInternalServerError, Err: err}
	var known *Error
	if errors.As(err, &known) {
		answer.Status, answer.Next = known.Status, known.Next
	} else {
		for _, s := range statuses {
			if errors.Is(err, s.err) {
				answer.Status, answer.Next = s.status, s.next
				break
			}
		}
	}
	if answer.Status == http.StatusInternalServerError {
		g.log.Warn("not served", zap.String("path", r.URL.Path), zap.Error(err))
	}
	h := w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length", "Content-Range", "Content-Disposition", "Content-Location", "Accept-Ranges", "Vary", "X-Ipfs-Path"} {
		h.Del(name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", closedPolicy)
	switch answer.Status {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	text := "p2pnode: " + err.Error() + "\n"
	if answer.Next != "" {
		text += answer.Next + "\n"
	}
	w.status = 0
	w.WriteHeader(answer.Status)
	// IPFS tools ask what is here with only-if-cached, and want no more than a no.
	probed := answer.Status == http.StatusPreconditionFailed && strings.HasPrefix(r.URL.Path, "/ipfs/")
	if r.Method != http.MethodHead && !probed {
		_, _ = io.WriteString(w, text)
	}
	w.finish()
}

// redirect answers that what is asked for is elsewhere on this gateway.
func redirect(w *writer, status int, path string, query string) error {
	u := url.URL{Path: path, RawQuery: query}
	w.Header().Set("Location", u.String())
	if status != http.StatusMovedPermanently {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	return nil
}

// A writer holds a status back until there is a byte to send, so that what fails
// before can be answered with an error.
type writer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	status int
	sent   bool
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	w.finish()
	if err := w.extend(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

// extend lets the connection take its time anew: the deadline of the answer before
// this one, on the same connection, may be over.
func (w *writer) extend() error {
	err := w.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// flush sends what was written; before that, nothing.
func (w *writer) flush() {
	if w.sent {
		_ = w.rc.Flush() // whoever is gone is noticed by the writing
	}
}

// finish sends the status.
func (w *writer) finish() {
	if !w.sent {
		_ = w.extend() // whoever is gone is noticed by the writing
		w.sent = true
		w.ResponseWriter.WriteHeader(cmp.Or(w.status, http.StatusOK))
	}
}
