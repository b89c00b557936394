package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// lineInterval is the least time between two status lines of an answer. What is
// reported in between is left out: the newest counts.
const lineInterval = 200 * time.Millisecond

// problemType is the content type of a Problem.
const problemType = "application/problem+json"

// write sends a short answer. A caller who left, or doesn't read, is no error of
// ours, and can't be told.
func write(w http.ResponseWriter, text string) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _ = io.WriteString(w, text)
}

// Refuse answers as a node does that can't do what was asked: for whatever passes
// its API on and doesn't reach it.
func Refuse(w http.ResponseWriter, err error) { writeError(w, From(err)) }

func writeError(w http.ResponseWriter, e *Error) {
	p := e.problem()
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	write(w, string(b)+"\n")
}

// stream answers with lines: what work reports, then its result or its error. If
// work fails before it reported, stream returns its error and has sent nothing.
// If the caller leaves or stops reading, the context of work ends.
func stream[S, R any](w http.ResponseWriter, r *http.Request, work func(context.Context, func(S)) (R, error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := lineWriter{w: w, rc: http.NewResponseController(w)}
	news := newest[S]{changed: make(chan struct{}, 1)}

	// The writer is apart from the work, so that a slow reader slows nothing.
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-news.changed:
			}
			if out.line(StatusLine, news.get()) != nil {
				cancel()
				return
			}
			select {
			case <-done:
				return
			case <-time.After(lineInterval):
			}
		}
	})
	res, err := work(ctx, news.set)
	close(done)
	writer.Wait()

	switch {
	case err == nil:
		_ = out.line(SummaryLine, res)
	case out.begun:
		_ = out.line(ErrorLine, because(r.Context(), err))
	default:
		return err
	}
	return nil
}

// newest holds the last value that was set.
type newest[T any] struct {
	changed chan struct{} // holds a token while value was not got

	mu    sync.Mutex
	value T
}

func (n *newest[T]) set(v T) {
	n.mu.Lock()
	n.value = v
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

func (n *newest[T]) get() T {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.value
}

// A lineWriter writes JSON lines and sends each at once.
type lineWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func (l *lineWriter) line(kind LineKind, v any) error {
	b, err := MarshalLine(kind, v)
	if err != nil {
		return err
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	if err := l.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return l.rc.Flush()
}
