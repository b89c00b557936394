package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/p2pnode/p2pnode/content"
)

// A Code says which kind of failure an Error is. Scripts branch on it; the
// command line makes its exit codes of it.
type Code string

// The codes.
const (
	Failed       Code = "failed"
	PartlyDone   Code = "partly-done"
	NotRunning   Code = "not-running"
	NotFound     Code = "not-found"
	Corrupt      Code = "corrupt"
	NotPermitted Code = "not-permitted"
	TimedOut     Code = "timed-out"
	NoSpace      Code = "no-space"
	Usage        Code = "usage"
	Interrupted  Code = "interrupted"
	Busy         Code = "busy"
)

// statuses is the HTTP status of each code.
var statuses = map[Code]int{
	Failed:       http.StatusInternalServerError,
	PartlyDone:   http.StatusInternalServerError,
	NotRunning:   http.StatusServiceUnavailable, // is stopping
	NotFound:     http.StatusNotFound,
	Corrupt:      http.StatusUnprocessableEntity,
	NotPermitted: http.StatusForbidden,
	TimedOut:     http.StatusGatewayTimeout,
	NoSpace:      http.StatusInsufficientStorage,
	Usage:        http.StatusBadRequest,
	Interrupted:  http.StatusServiceUnavailable,
	Busy:         http.StatusTooManyRequests,
}

// Codes lists every code, for tables.
func Codes() []Code {
	codes := make([]Code, 0, len(statuses))
	for c := range statuses {
		codes = append(codes, c)
	}
	return codes
}

// An Error is what a caller is told when something failed.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // what failed, and why
	// Next is what to do about it, with the command to run: "Start it: p2pnode
	// run".
	Next string `json:"next,omitempty"`
	// Tried lists what was done in vain before giving up, one phrase each.
	Tried []string `json:"tried,omitempty"`

	cause error
}

// ErrNotRunning matches, by errors.Is, every error of a client that found no
// node on the socket.
var ErrNotRunning = &Error{Code: NotRunning, Message: "node not running"}

// Errorf returns an Error whose message and cause are those of fmt.Errorf.
func Errorf(code Code, next, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Next: next, cause: errors.Unwrap(err)}
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the error that the message was made of, if there was one.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// MakeRoom is what to do where there is none, whoever met it.
const MakeRoom = "Make room: p2pnode content ls --sort size, p2pnode content unpin, p2pnode content rm"

// causes is how errors of the node become codes, first match first, and what to do
// about them if whoever met it doesn't know better.
var causes = []struct {
	err  error
	code Code
	next string
}{
	{content.ErrNotFound, NotFound, ""},
	{content.ErrCorrupt, Corrupt, ""},
	{content.ErrNoSpace, NoSpace, MakeRoom},
	{syscall.ENOSPC, NoSpace, MakeRoom},
	{content.ErrID, Usage, ""},
	{content.ErrPath, Usage, ""},
	{context.DeadlineExceeded, TimedOut, ""},
	{context.Canceled, Interrupted, ""},
	{fs.ErrPermission, NotPermitted, ""},
}

// From returns err as an Error: the one it wraps, with the message of the whole
// chain, or a new one whose code follows from the cause.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.Error() == err.Error() {
			return e
		}
		return &Error{Code: e.Code, Message: err.Error(), Next: e.Next, Tried: e.Tried, cause: err}
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return &Error{Code: c.code, Message: err.Error(), Next: c.next, cause: err}
		}
	}
	return &Error{Code: Failed, Message: err.Error(), cause: err}
}

// A Problem is an Error as RFC 9457 writes it.
type Problem struct {
	Type   string   `json:"type"`  // urn:p2pnode:problem: and the code
	Title  string   `json:"title"` // of the HTTP status
	Status int      `json:"status"`
	Detail string   `json:"detail"` // the error's message
	Code   Code     `json:"code"`
	Next   string   `json:"next,omitempty"`
	Tried  []string `json:"tried,omitempty"`
}

func (e *Error) problem() Problem {
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return Problem{
		Type:   "urn:p2pnode:problem:" + string(e.Code),
		Title:  http.StatusText(status),
		Status: status,
		Detail: e.Message,
		Code:   e.Code,
		Next:   e.Next,
		Tried:  e.Tried,
	}
}

func (p Problem) err() *Error {
	return &Error{Code: p.Code, Message: p.Detail, Next: p.Next, Tried: p.Tried}
}
