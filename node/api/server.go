package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Limits of the server.
const (
	maxBody     = 256 << 10 // bytes of a request
	maxHeader   = 16 << 10
	maxRequests = 64 // of the owner under way at once; more are answered with busy

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	// answerTimeout bounds what is answered with one object.
	answerTimeout = 30 * time.Second
	// writeTimeout bounds one line, or one answer, to a reader who doesn't read.
	writeTimeout = 10 * time.Second
	idleTimeout  = 60 * time.Second
	// stopTimeout is for requests to end once the node stops; their contexts
	// are cancelled at its beginning.
	stopTimeout = 2 * time.Second
)

// errStopping is the cause of every request's end once the server stops.
var errStopping = &Error{
	Code:    NotRunning,
	Message: "the node is stopping",
	Next:    "Start it again: p2pnode run (a get goes on from where it stood)",
}

// A Server answers callers on a node's socket.
type Server struct {
	node     Node
	files    http.Handler // of /content/ and /ipfs/; nil: none
	metrics  prometheus.Gatherer
	log      *zap.Logger
	listener net.Listener
	owner    func(net.Conn) bool
	busy     chan struct{}  // one token for each request of the owner under way
	serving  sync.WaitGroup // all requests
	close    func() error
}

// NewServer opens the socket of the node that runs on dataDir. It fails if
// another node answers there; what a killed one left behind is cleared away. files,
// unless nil, serves contents to the owner.
func NewServer(dataDir string, node Node, files http.Handler, metrics prometheus.Gatherer, log *zap.Logger) (*Server, error) {
	path, err := SocketPath(dataDir)
	if err != nil {
		return nil, err
	}
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", URL(path), err)
	}
	return newServer(node, files, listener, metrics, log), nil
}

func newServer(node Node, files http.Handler, listener net.Listener, metrics prometheus.Gatherer, log *zap.Logger) *Server {
	return &Server{
		node:     node,
		files:    files,
		metrics:  metrics,
		log:      log,
		listener: listener,
		owner:    isOwner,
		busy:     make(chan struct{}, maxRequests),
		close: sync.OnceValue(func() error {
			if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // by Run
		}),
	}
}

// Close closes the listener of a server that never ran; after Run it does
// nothing.
func (s *Server) Close() error { return s.close() }

// ownerKey is the context key under which a connection carries whether its other
// end is the node's owner.
type ownerKey struct{}

// Run serves until ctx ends, then ends the requests under way and returns.
func (s *Server) Run(ctx context.Context) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          zap.NewStdLog(s.log),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, ownerKey{}, s.owner(c))
		},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(s.listener) }()

	select {
	case err := <-served:
		cancel(errStopping)
		_ = srv.Close()
		s.serving.Wait()
		_ = s.close()
		return fmt.Errorf("serve the local API: %w", err)
	case <-ctx.Done():
	}
	cancel(errStopping)
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("a request did not end in time: its connection is cut")
		err = srv.Close()
	}
	<-served
	s.serving.Wait()
	if err = errors.Join(err, s.close()); err != nil {
		return fmt.Errorf("stop the local API: %w", err)
	}
	return nil
}

// Handler returns what Run serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.method+" "+r.path, s.guard(r))
	}
	mux.Handle("/", s.guard(route{access: anyone, serve: noRoute}))
	// Nothing of a browser's comes over a socket; should somebody put a proxy
	// before it, pages of other sites still can't act here.
	return http.NewCrossOriginProtection().Handler(mux)
}

// guard checks who calls and how much is under way before r is served, and
// writes its error.
func (s *Server) guard(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		owner, _ := req.Context().Value(ownerKey{}).(bool)
		if r.access != anyone && !(r.access == owners && owner) {
			writeError(w, Errorf(NotPermitted, "", "%s %s is for the user that runs the node", req.Method, req.URL.Path))
			return
		}
		s.serving.Add(1)
		defer s.serving.Done()
		if r.access != anyone { // a busy node still says that it lives
			select {
			case s.busy <- struct{}{}:
				defer func() { <-s.busy }()
			default:
				writeError(w, Errorf(Busy, "Try again in a moment", "%d requests are under way already", maxRequests))
				return
			}
		}
		err := readBody(w, req)
		if err == nil {
			err = r.serve(s, w, req)
		}
		if err != nil {
			writeError(w, because(req.Context(), err))
		}
	})
}

// readBody takes the whole body off the connection, so that a slow caller is
// cut off before its request counts, and net/http, which watches for a caller's
// leaving only behind the body's end, can do so.
func readBody(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return Errorf(Usage, "", "read the request: %w", err)
	}
	if err := rc.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// because returns err as an Error, with the reason of ctx if that is why.
func because(ctx context.Context, err error) *Error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errStopping) {
		return errStopping
	}
	return From(err)
}
