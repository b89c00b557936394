package api

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// An access says who may call a route.
type access uint8

const (
	nobody access = iota // a route that forgot to say
	owners               // the user that runs the node, and root
	anyone               // who can open the socket
)

// A route is one method on one path.
type route struct {
	method, path string
	access       access
	serve        func(*Server, http.ResponseWriter, *http.Request) error
}

// routes is all that a caller can reach.
var routes = []route{
	{"GET", "/livez", anyone, live},
	{"GET", "/readyz", anyone, ready},
	{"GET", "/metrics", anyone, metrics},

	{"GET", "/v1/status", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (Status, error) {
		return s.node.Status(ctx)
	})},
	{"GET", "/v1/checks", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Check], error) {
		return list(s.node.Doctor(ctx))
	})},

	{"GET", "/v1/contents", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Content], error) {
		return list(s.node.Contents(ctx))
	})},
	{"POST", "/v1/contents", owners, add},
	{"GET", "/v1/contents/{ref}", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (ContentDetail, error) {
		return s.node.Content(ctx, r.PathValue("ref"))
	})},
	{"DELETE", "/v1/contents/{ref}", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (Removed, error) {
		return s.node.Remove(ctx, r.PathValue("ref"))
	})},
	{"POST", "/v1/contents/{ref}/verify", owners, verify},
	{"PUT", "/v1/contents/{ref}/pin", owners, answer(pin(true))},
	{"DELETE", "/v1/contents/{ref}/pin", owners, answer(pin(false))},
	{"POST", "/v1/contents/{ref}/export", owners, export},
	{"POST", "/v1/imports", owners, importFile},
	{"POST", "/v1/flows", owners, get},

	{"GET", "/v1/cache", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (Cache, error) {
		return s.node.Cache(ctx)
	})},
	{"POST", "/v1/cache/clean", owners, answer(cleanCache)},
	{"POST", "/v1/cache/verify", owners, verifyAll},
	{"GET", "/content/", owners, files},
	{"GET", "/ipfs/", owners, files},

	{"GET", "/v1/peers", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Peer], error) {
		return list(s.node.Peers(ctx))
	})},
	{"POST", "/v1/peers/{who}/ping", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (Pong, error) {
		return s.node.Ping(ctx, r.PathValue("who"))
	})},
	{"GET", "/v1/sites", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Site], error) {
		return list(s.node.Sites(ctx))
	})},
	{"POST", "/v1/sitemap", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (SiteMap, error) {
		req, err := read[SignSitesRequest](r)
		if err != nil {
			return SiteMap{}, err
		}
		return s.node.SignSites(ctx, req)
	})},
	{"POST", "/v1/sitemap/check", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (SiteMap, error) {
		req, err := read[CheckSitesRequest](r)
		if err != nil {
			return SiteMap{}, err
		}
		return s.node.CheckSites(ctx, req)
	})},
	{"GET", "/v1/site", owners, answer(siteOf)},
	{"GET", "/v1/sites/{site}", owners, answer(siteOf)},
	{"GET", "/v1/refusals", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Refusal], error) {
		return list(s.node.Refusals(ctx))
	})},
	{"GET", "/v1/decisions", owners, answer(decisions)},
	{"GET", "/v1/contents/{ref}/why", owners, answer(why)},

	{"POST", "/v1/invites", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (Invitation, error) {
		req, err := read[InviteRequest](r)
		if err != nil {
			return Invitation{}, err
		}
		if req.Uses < 0 || req.Expires < 0 {
			return Invitation{}, Errorf(Usage, "", "uses and expires_seconds are not negative")
		}
		return s.node.Invite(ctx, req)
	})},
	{"GET", "/v1/members", owners, answer(func(ctx context.Context, s *Server, _ *http.Request) (List[Member], error) {
		return list(s.node.Members(ctx))
	})},
	{"POST", "/v1/members/{who}/revoke", owners, answer(func(ctx context.Context, s *Server, r *http.Request) (Member, error) {
		req, err := read[RevokeRequest](r)
		if err != nil {
			return Member{}, err
		}
		return s.node.Revoke(ctx, r.PathValue("who"), req)
	})},
}

func noRoute(_ *Server, _ http.ResponseWriter, r *http.Request) error {
	return Errorf(NotFound, "", "no such call: %s %s", r.Method, r.URL.Path)
}

func live(_ *Server, w http.ResponseWriter, _ *http.Request) error {
	write(w, "ok\n")
	return nil
}

// ready answers as Kubernetes' components do: machines read the status, people
// the lines.
func ready(s *Server, w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	state, err := s.node.Ready(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	if r.URL.Query().Has("verbose") {
		for _, p := range state.Parts {
			sign, message := "[+]", "ok"
			if !p.Ready {
				sign, message = "[-]", "not ready"
			}
			if p.Message != "" {
				message = p.Message
			}
			fmt.Fprintf(&text, "%s%s %s\n", sign, p.Name, message)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !state.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		text.WriteString("not ")
	}
	write(w, text.String()+"ready\n")
	return nil
}

func metrics(s *Server, w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Timeout: answerTimeout}).ServeHTTP(w, r)
	return nil
}

func add(s *Server, w http.ResponseWriter, r *http.Request) error {
	req, err := read[AddRequest](r)
	if err != nil {
		return err
	}
	if len(req.Paths) == 0 {
		return Errorf(Usage, "", "add: no paths")
	}
	for _, p := range req.Paths {
		if !filepath.IsAbs(p) && !IsAddress(p) {
			return Errorf(Usage, "", "add %s: the path must be absolute, the node runs in another folder", p)
		}
	}
	return stream(w, r, func(ctx context.Context, report func(Progress)) (AddResult, error) {
		return s.node.Add(ctx, req, report)
	})
}

func get(s *Server, w http.ResponseWriter, r *http.Request) error {
	req, err := read[GetRequest](r)
	switch {
	case err != nil:
		return err
	case req.Ref == "":
		return Errorf(Usage, "", "get: no content id or name")
	case !filepath.IsAbs(req.Output):
		return Errorf(Usage, "", "get: the output must be an absolute path, the node runs in another folder")
	case req.Timeout < 0:
		return Errorf(Usage, "", "get: the timeout is negative")
	}
	return stream(w, r, func(ctx context.Context, report func(FlowStatus)) (GetResult, error) {
		return s.node.Get(ctx, req, report)
	})
}

func export(s *Server, w http.ResponseWriter, r *http.Request) error {
	req, err := read[ExportRequest](r)
	switch {
	case err != nil:
		return err
	case !filepath.IsAbs(req.Output):
		return Errorf(Usage, "", "export: the output must be an absolute path, the node runs in another folder")
	}
	return stream(w, r, func(ctx context.Context, report func(Progress)) (ExportResult, error) {
		return s.node.Export(ctx, r.PathValue("ref"), req, report)
	})
}

func importFile(s *Server, w http.ResponseWriter, r *http.Request) error {
	req, err := read[ImportRequest](r)
	switch {
	case err != nil:
		return err
	case !filepath.IsAbs(req.Path):
		return Errorf(Usage, "", "import: the path must be absolute, the node runs in another folder")
	}
	return stream(w, r, func(ctx context.Context, report func(Progress)) (ImportResult, error) {
		return s.node.Import(ctx, req, report)
	})
}

// files serves contents themselves, as the gateway does.
func files(s *Server, w http.ResponseWriter, r *http.Request) error {
	if s.files == nil {
		return noRoute(s, w, r)
	}
	s.files.ServeHTTP(w, r)
	return nil
}

func verify(s *Server, w http.ResponseWriter, r *http.Request) error {
	return stream(w, r, func(ctx context.Context, report func(Progress)) (VerifyResult, error) {
		return s.node.Verify(ctx, r.PathValue("ref"), report)
	})
}

func pin(pinned bool) func(context.Context, *Server, *http.Request) (Content, error) {
	return func(ctx context.Context, s *Server, r *http.Request) (Content, error) {
		return s.node.Pin(ctx, r.PathValue("ref"), pinned)
	}
}

func cleanCache(ctx context.Context, s *Server, r *http.Request) (CleanResult, error) {
	req, err := read[CleanRequest](r)
	switch {
	case err != nil:
		return CleanResult{}, err
	case req.To < 0:
		return CleanResult{}, Errorf(Usage, "", "clean: to_bytes is negative")
	case req.To > 0 && req.All:
		return CleanResult{}, Errorf(Usage, "", "clean: to_bytes and all exclude each other")
	}
	return s.node.Clean(ctx, req)
}

func verifyAll(s *Server, w http.ResponseWriter, r *http.Request) error {
	return stream(w, r, s.node.VerifyAll)
}

// Decisions asked for if the caller doesn't say, and at most.
const (
	defaultDecisions = 100
	maxDecisions     = 10_000
)

func decisions(ctx context.Context, s *Server, r *http.Request) (List[Decision], error) {
	limit := defaultDecisions
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxDecisions {
			return List[Decision]{}, Errorf(Usage, "", "limit %q: want 1 to %d", text, maxDecisions)
		}
		limit = n
	}
	return list(s.node.Decisions(ctx, limit))
}

func siteOf(ctx context.Context, s *Server, r *http.Request) (SiteDetail, error) {
	return s.node.Site(ctx, r.PathValue("site")) // empty where the path has none
}

func why(ctx context.Context, s *Server, r *http.Request) (Why, error) {
	chunk := AllChunks
	if text := r.URL.Query().Get("chunk"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return Why{}, Errorf(Usage, "", "chunk %q: want 0 or more", text)
		}
		chunk = n
	}
	return s.node.Why(ctx, r.PathValue("ref"), chunk)
}

// answer returns what serves a route that is answered with one object.
func answer[R any](ask func(context.Context, *Server, *http.Request) (R, error)) func(*Server, http.ResponseWriter, *http.Request) error {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		res, err := ask(ctx, s, r)
		if err != nil {
			return err
		}
		b, err := Marshal(res)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		write(w, string(b)+"\n")
		return nil
	}
}

func list[T any](items []T, err error) (List[T], error) { return List[T]{items}, err }
