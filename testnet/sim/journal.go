package sim

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Journal is what all nodes log that an operator would read, with the virtual
// time: how a simulation knows what happened inside of a node without asking it.
type Journal struct {
	mu    sync.Mutex
	lines []Line
}

// A Line is what one node logged.
type Line struct {
	At      time.Time
	Node    string
	Level   zapcore.Level
	Message string
	Fields  map[string]any
}

func newJournal() *Journal { return &Journal{} }

// logger returns where a node logs.
func (j *Journal) logger(node string) *zap.Logger { return zap.New(&recorder{journal: j, node: node}) }

// Find returns the lines with a message, since a time.
func (j *Journal) Find(message string, since time.Time) []Line {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Line
	for _, l := range j.lines {
		if l.Message == message && !l.At.Before(since) {
			found = append(found, l)
		}
	}
	return found
}

// Count returns how often each message of a level or above was logged.
func (j *Journal) Count(level zapcore.Level) map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := make(map[string]int)
	for _, l := range j.lines {
		if l.Level >= level {
			n[l.Message]++
		}
	}
	return n
}

// A recorder is a zap core that writes to a journal.
type recorder struct {
	journal *Journal
	node    string
	with    []zapcore.Field
}

// Enabled implements zapcore.Core.
func (r *recorder) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With implements zapcore.Core.
func (r *recorder) With(fields []zapcore.Field) zapcore.Core {
	return &recorder{r.journal, r.node, append(r.with[:len(r.with):len(r.with)], fields...)}
}

// Check implements zapcore.Core.
func (r *recorder) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if r.Enabled(e.Level) {
		return c.AddCore(e, r)
	}
	return c
}

// Write implements zapcore.Core.
func (r *recorder) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range r.with {
		f.AddTo(m)
	}
	for _, f := range fields {
		f.AddTo(m)
	}
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	r.journal.lines = append(r.journal.lines, Line{At: e.Time, Node: r.node, Level: e.Level, Message: e.Message, Fields: m.Fields})
	return nil
}

// Sync implements zapcore.Core.
func (r *recorder) Sync() error { return nil }
