package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Limits of the listener.
const (
	maxConns      = 256
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	stopTimeout   = 2 * time.Second
)

// CheckAddress reports whether a gateway may listen on HOST:PORT. Unless anywhere is
// set it has to be one of this machine's own, which nobody else can reach: 127.0.0.1,
// [::1] or localhost.
func CheckAddress(address string, anywhere bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("gateway address %q: %w (want HOST:PORT, as 127.0.0.1:4741)", address, err)
	}
	if !anywhere && !loopback(host) {
		return fmt.Errorf("gateway address %s can be reached by others, who would read all contents without a credential: use 127.0.0.1, or any:%s if that is meant", address, address)
	}
	return nil
}

// Listen opens an address that CheckAddress allows.
func Listen(address string, anywhere bool) (net.Listener, error) {
	if err := CheckAddress(address, anywhere); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the gateway: %w", err)
	}
	return l, nil
}

// loopback reports whether a host is this machine to itself, whatever a DNS server
// says.
func loopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Serve answers on a listener until ctx ends. Host headers are checked: only
// names that nobody can point elsewhere are answered, which are those of loopback
// and, if anywhere is set, IP addresses.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, anywhere bool) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var serving sync.WaitGroup
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serving.Add(1)
			defer serving.Done()
			if !ours(r.Host, anywhere) {
				g.refuse(&writer{ResponseWriter: w, rc: http.NewResponseController(w)}, r, &Error{
					Status: http.StatusMisdirectedRequest, Next: "Ask by the address itself, as http://127.0.0.1",
					Err: fmt.Errorf("%.100q is no name of this gateway", r.Host),
				})
				return
			}
			g.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          zap.NewStdLog(g.log),
		BaseContext:       func(net.Listener) context.Context { return base },
		// A preflight or OPTIONS * is refused like every method but GET and HEAD.
		DisableGeneralOptionsHandler: true,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(&bounded{Listener: l, slots: make(chan struct{}, maxConns)}) }()
	select {
	case err := <-served:
		cancel()
		_ = srv.Close()
		serving.Wait()
		return fmt.Errorf("serve the gateway: %w", err)
	case <-ctx.Done():
	}
	cancel()
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // somebody doesn't read
	}
	<-served
	serving.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	return nil
}

// ours reports whether a Host header is one to answer.
func ours(host string, anywhere bool) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if loopback(host) {
		return true
	}
	_, err := netip.ParseAddr(host)
	return anywhere && err == nil
}

// A bounded listener closes connections beyond what slots hold at once.
type bounded struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &slot{Conn: c, free: sync.OnceFunc(func() { <-b.slots })}, nil
		default:
			_ = c.Close() // whoever has so many can try again
		}
	}
}

type slot struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (s *slot) Close() error {
	defer s.free()
	return s.Conn.Close()
}
