package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// Limits of the client: the node is trusted, but may be another version.
const (
	maxAnswer = 64 << 20 // bytes of an answer
	maxLine   = 4 << 20  // bytes of a line of a long one
)

// A Client speaks with a node on this machine. Its zero value is of no use; it
// holds no connection until it is used.
type Client struct {
	where string // for people
	base  string // of every address
	http  *http.Client
}

var _ Node = (*Client)(nil)

// NewClient returns a client for the node of dataDir.
func NewClient(dataDir string) (*Client, error) {
	path, err := SocketPath(dataDir)
	if err != nil {
		return nil, err
	}
	return newClient(URL(path), "http://p2pnode", func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, path)
	}), nil
}

// NewClientAt returns a client for a node whose API something on this machine
// passes on, as the testnet's window does: base is http://127.0.0.1:PORT/PREFIX.
// Nothing but loopback addresses is taken, because nobody there asks who calls.
func NewClientAt(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("node at %s: %w", base, err)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil || u.Scheme != "http" || !addr.IsLoopback() || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("node at %s: want http:// and a loopback address, as in http://127.0.0.1:4790/publisher", base)
	}
	var d net.Dialer
	return newClient(base, strings.TrimSuffix(base, "/"), func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, errNobody
		}
		return c, err
	}), nil
}

func newClient(where, base string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Client {
	return &Client{where: where, base: base, http: &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return dial(ctx, network, addr)
		},
	}}}
}

// stay follows no redirect: a node sends nobody elsewhere, and what is asked, invite
// tokens among it, is for it alone.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// URL returns where the client looks for the node, for people.
func (c *Client) URL() string { return c.where }

// Live returns nil if a node answers.
func (c *Client) Live(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	res, err := c.send(ctx, "GET", "/livez", nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Status implements Node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, "GET", "/v1/status", nil)
}

// Ready implements Node. Over the wire the parts are lines of text; what is
// told here is whether all are ready, and those lines.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	res, err := c.request(ctx, "GET", "/readyz?verbose", nil)
	if err != nil {
		return Readiness{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.Header.Get("Content-Type") == problemType {
		return Readiness{}, problemOf(res)
	}
	r := Readiness{Ready: res.StatusCode == http.StatusOK}
	lines := bufio.NewScanner(io.LimitReader(res.Body, maxAnswer))
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) < 3 || line[0] != '[' || line[2] != ']' {
			continue
		}
		name, message, _ := bytes.Cut(line[3:], []byte(" "))
		r.Parts = append(r.Parts, Part{Name: string(name), Ready: line[1] == '+', Message: string(message)})
	}
	return r, lines.Err()
}

// Doctor implements Node.
func (c *Client) Doctor(ctx context.Context) ([]Check, error) {
	return items(call[List[Check]](ctx, c, "GET", "/v1/checks", nil))
}

// Add implements Node.
func (c *Client) Add(ctx context.Context, r AddRequest, report func(Progress)) (AddResult, error) {
	return follow[Progress, AddResult](ctx, c, "/v1/contents", r, report)
}

// Get implements Node.
func (c *Client) Get(ctx context.Context, r GetRequest, report func(FlowStatus)) (GetResult, error) {
	return follow[FlowStatus, GetResult](ctx, c, "/v1/flows", r, report)
}

// Contents implements Node.
func (c *Client) Contents(ctx context.Context) ([]Content, error) {
	return items(call[List[Content]](ctx, c, "GET", "/v1/contents", nil))
}

// Content implements Node.
func (c *Client) Content(ctx context.Context, ref string) (ContentDetail, error) {
	return call[ContentDetail](ctx, c, "GET", "/v1/contents/"+url.PathEscape(ref), nil)
}

// Remove implements Node.
func (c *Client) Remove(ctx context.Context, ref string) (Removed, error) {
	return call[Removed](ctx, c, "DELETE", "/v1/contents/"+url.PathEscape(ref), nil)
}

// Pin implements Node.
func (c *Client) Pin(ctx context.Context, ref string, pinned bool) (Content, error) {
	method := "PUT"
	if !pinned {
		method = "DELETE"
	}
	return call[Content](ctx, c, method, "/v1/contents/"+url.PathEscape(ref)+"/pin", nil)
}

// Export implements Node.
func (c *Client) Export(ctx context.Context, ref string, r ExportRequest, report func(Progress)) (ExportResult, error) {
	return follow[Progress, ExportResult](ctx, c, "/v1/contents/"+url.PathEscape(ref)+"/export", r, report)
}

// Import implements Node.
func (c *Client) Import(ctx context.Context, r ImportRequest, report func(Progress)) (ImportResult, error) {
	return follow[Progress, ImportResult](ctx, c, "/v1/imports", r, report)
}

// Verify implements Node.
func (c *Client) Verify(ctx context.Context, ref string, report func(Progress)) (VerifyResult, error) {
	return follow[Progress, VerifyResult](ctx, c, "/v1/contents/"+url.PathEscape(ref)+"/verify", nil, report)
}

// Cache implements Node.
func (c *Client) Cache(ctx context.Context) (Cache, error) {
	return call[Cache](ctx, c, "GET", "/v1/cache", nil)
}

// Clean implements Node.
func (c *Client) Clean(ctx context.Context, r CleanRequest) (CleanResult, error) {
	return call[CleanResult](ctx, c, "POST", "/v1/cache/clean", r)
}

// VerifyAll implements Node.
func (c *Client) VerifyAll(ctx context.Context, report func(Progress)) (VerifyAllResult, error) {
	return follow[Progress, VerifyAllResult](ctx, c, "/v1/cache/verify", nil, report)
}

// Peers implements Node.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return items(call[List[Peer]](ctx, c, "GET", "/v1/peers", nil))
}

// Sites implements Node.
func (c *Client) Sites(ctx context.Context) ([]Site, error) {
	return items(call[List[Site]](ctx, c, "GET", "/v1/sites", nil))
}

// Site implements Node.
func (c *Client) Site(ctx context.Context, id string) (SiteDetail, error) {
	if id == "" {
		return call[SiteDetail](ctx, c, "GET", "/v1/site", nil)
	}
	return call[SiteDetail](ctx, c, "GET", "/v1/sites/"+url.PathEscape(id), nil)
}

// SignSites implements Node.
func (c *Client) SignSites(ctx context.Context, r SignSitesRequest) (SiteMap, error) {
	return call[SiteMap](ctx, c, "POST", "/v1/sitemap", r)
}

// CheckSites implements Node.
func (c *Client) CheckSites(ctx context.Context, r CheckSitesRequest) (SiteMap, error) {
	return call[SiteMap](ctx, c, "POST", "/v1/sitemap/check", r)
}

// Refusals implements Node.
func (c *Client) Refusals(ctx context.Context) ([]Refusal, error) {
	return items(call[List[Refusal]](ctx, c, "GET", "/v1/refusals", nil))
}

// Ping implements Node.
func (c *Client) Ping(ctx context.Context, who string) (Pong, error) {
	return call[Pong](ctx, c, "POST", "/v1/peers/"+url.PathEscape(who)+"/ping", nil)
}

// Decisions implements Node.
func (c *Client) Decisions(ctx context.Context, limit int) ([]Decision, error) {
	return items(call[List[Decision]](ctx, c, "GET", "/v1/decisions?limit="+strconv.Itoa(limit), nil))
}

// Why implements Node.
func (c *Client) Why(ctx context.Context, ref string, chunk int) (Why, error) {
	path := "/v1/contents/" + url.PathEscape(ref) + "/why"
	if chunk != AllChunks {
		path += "?chunk=" + strconv.Itoa(chunk)
	}
	return call[Why](ctx, c, "GET", path, nil)
}

// Invite implements Node.
func (c *Client) Invite(ctx context.Context, r InviteRequest) (Invitation, error) {
	return call[Invitation](ctx, c, "POST", "/v1/invites", r)
}

// Members implements Node.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	return items(call[List[Member]](ctx, c, "GET", "/v1/members", nil))
}

// Revoke implements Node.
func (c *Client) Revoke(ctx context.Context, who string, r RevokeRequest) (Member, error) {
	return call[Member](ctx, c, "POST", "/v1/members/"+url.PathEscape(who)+"/revoke", r)
}

func items[T any](l List[T], err error) ([]T, error) { return l.Items, err }

// call asks for one object. It waits a little longer than the server does, so
// that the server's word on what took too long arrives.
func call[R any](ctx context.Context, c *Client, method, path string, body any) (R, error) {
	var out R
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+dialTimeout)
	defer cancel()
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&out); cutOff(err) {
		return out, errMidway
	} else if err != nil {
		return out, fmt.Errorf("read the node's answer to %s %s: %w", method, path, err)
	}
	return out, nil
}

// follow asks for lines, reports the status ones, and returns the summary.
func follow[S, R any](ctx context.Context, c *Client, path string, body any, report func(S)) (R, error) {
	var out R
	res, err := c.send(ctx, "POST", path, body)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var head struct {
			Type LineKind `json:"type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &head); err != nil {
			if !lines.Scan() && cutOff(lines.Err()) { // its last line is half a line
				return out, errMidway
			}
			return out, fmt.Errorf("read the node's answer to %s: %w", path, err)
		}
		switch head.Type {
		case StatusLine:
			var s S
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				return out, fmt.Errorf("read the node's answer to %s: %w", path, err)
			}
			if report != nil {
				report(s)
			}
		case SummaryLine:
			if err := json.Unmarshal(lines.Bytes(), &out); err != nil {
				return out, fmt.Errorf("read the node's answer to %s: %w", path, err)
			}
			return out, nil
		case ErrorLine:
			e := new(Error)
			if err := json.Unmarshal(lines.Bytes(), e); err != nil {
				return out, fmt.Errorf("read the node's answer to %s: %w", path, err)
			}
			return out, e
		}
	}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return out, fmt.Errorf("read the node's answer to %s: %w", path, err)
	}
	return out, errMidway
}

// send makes a request and turns every answer but a good one into an error. The
// caller closes the body.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	res, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, problemOf(res)
	}
	return res, nil
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var data io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", body, err)
		}
		if len(b) > maxBody {
			return nil, Errorf(Usage, "Add a folder instead of its files", "the request of %d bytes is over the limit of %d", len(b), maxBody)
		}
		data = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, data)
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	switch {
	case err == nil:
		return res, nil
	case errors.Is(err, errNobody):
		return nil, Errorf(NotRunning, "Start it: p2pnode run", "node not running (%s)", c.URL())
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case cutOff(err):
		return nil, errMidway
	}
	var u *url.Error // says only the method and a made-up host
	if errors.As(err, &u) {
		err = u.Err
	}
	return nil, fmt.Errorf("ask the node (%s): %w", c.URL(), err)
}

// errMidway is what comes of a request whose node was there when it was asked.
var errMidway = Errorf(NotRunning, "Start it again: p2pnode run (a get goes on from where it stood)", "the node ended in the middle of its answer")

// cutOff reports whether a connection that stood was ended by the other side.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// problemOf returns the error that a refused request was answered with.
func problemOf(res *http.Response) error {
	var p Problem
	if err := json.NewDecoder(io.LimitReader(res.Body, maxLine)).Decode(&p); err != nil || p.Code == "" {
		return fmt.Errorf("the node answered %s", res.Status)
	}
	return p.err()
}
