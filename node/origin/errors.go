package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// Errors that callers branch on. That a server lacks the resource is
// content.ErrNotFound, that it has another version content.ErrChanged.
var (
	ErrNotAllowed  = errors.New("address is not allowed: an operator decides what servers are asked (origin.allow)")
	ErrRedirect    = errors.New("redirected where we don't follow: use the final address")
	ErrPage        = errors.New("a web page answered in place of the file: log in to this network, or let its proxy pass the address")
	ErrNoRange     = errors.New("server gives no parts of it (no 206 for a Range): use a server that does")
	ErrLength      = errors.New("length is not the expected one: look at what the server has there")
	ErrEncoded     = errors.New("server or proxy encodes it on the way: have it served as it is")
	ErrTLS         = errors.New("no secure connection: log in to this network, or have the server's or proxy's certificate authority installed")
	ErrStatus      = errors.New("server refuses it")
	ErrSlow        = errors.New("server is too slow: others are asked")
	ErrBroken      = errors.New("connection broke off")
	ErrUnreachable = errors.New("server can't be reached: see whether the network needs a proxy (HTTPS_PROXY)")
	ErrResting     = errors.New("server failed lately and is left alone for a while")
)

// A StatusError is an answer with a status of failure. It is ErrStatus.
type StatusError struct {
	Code  int           // HTTP status
	Retry time.Duration // of Retry-After; 0 if there is none
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%v: %d %s", ErrStatus, e.Code, http.StatusText(e.Code))
	switch {
	case e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden:
		s += ": an origin must be readable without credentials"
	case e.Code == http.StatusProxyAuthRequired:
		s += ": give the proxy's credentials in HTTPS_PROXY"
	case e.Retry > 0:
		s += fmt.Sprintf(": try again in %s", e.Retry)
	}
	return s
}

// Unwrap returns ErrStatus.
func (e *StatusError) Unwrap() error { return ErrStatus }

// transient reports whether the same request may well succeed soon.
func transient(err error) bool {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Code >= 500 || s.Code == http.StatusTooManyRequests || s.Code == http.StatusRequestTimeout
	}
	return errors.Is(err, ErrBroken) || errors.Is(err, ErrSlow) || errors.Is(err, ErrUnreachable)
}

// ofAddress reports whether an error is about one address; all others are about
// the server, or the way to it.
func ofAddress(err error) bool {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden
	}
	return errors.Is(err, content.ErrNotFound) || errors.Is(err, content.ErrChanged) ||
		errors.Is(err, ErrLength) || errors.Is(err, ErrNotAllowed)
}

// explain returns what went wrong below HTTP in words of this package. ctx is
// that of the request, whose cause may be a watchdog's.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // it has the whole address, with what its query may hold
	}
	if errors.Is(err, ErrRedirect) || errors.Is(err, ErrNotAllowed) {
		return err
	}
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, garbled := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case unverified || alert || garbled || errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w (%w)", ErrTLS, err)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (%w)", ErrBroken, err)
	}
	return fmt.Errorf("%w (%w)", ErrUnreachable, err)
}
