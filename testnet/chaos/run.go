package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// Files makes and reads files in the folders of a node's machine.
type Files interface {
	// Sample writes a file of random bytes and returns its SHA-256.
	Sample(ctx context.Context, n box.Node, path string, size int64, seed uint64) (digest string, err error)
	Digest(ctx context.Context, n box.Node, path string) (string, error)
	Remove(ctx context.Context, n box.Node, path string) error
	// Left returns the files that should not be there any more while the node does
	// nothing: in its data folder and where copies were written.
	Left(ctx context.Context, n box.Node) ([]string, error)
}

// healing bounds what ends a fault, and taking care of a node that is told to stop.
const healing = time.Minute

// Run lets a Timeline happen to a box whose nodes all run, and writes down what
// came of it. It returns an error if the box itself failed, or ctx ended; then too
// it heals first what it broke. say is told each thing that happens, one after the other.
func Run(ctx context.Context, e box.Enterprise, files Files, t Timeline, say func(at time.Duration, text string)) (Record, error) {
	r := &run{box: e, files: files, plan: t, start: time.Now(), say: say, ids: make([]chan struct{}, len(t.Contents)), complained: map[string]bool{}}
	r.rec.rec = Record{Contents: make([]Published, len(t.Contents)), Faults: make([]Done, len(t.Faults)), Usage: map[string]Growth{}, Left: map[string][]string{}}
	for i := range r.ids {
		r.ids[i] = make(chan struct{})
	}
	warm, stop := context.WithTimeoutCause(ctx, t.warming(), errPatience)
	err := r.warm(warm)
	stop()
	if err != nil {
		return r.rec.rec, fmt.Errorf("before the faults: %w", err)
	}
	r.rec.rec.shift(r.now())
	r.start = time.Now()
	if err := r.storm(ctx); err != nil {
		return r.rec.rec, err
	}
	if err := r.calm(ctx); err != nil {
		return r.rec.rec, fmt.Errorf("after the faults: %w", err)
	}
	return r.rec.rec, nil
}

type run struct {
	box   box.Enterprise
	files Files
	plan  Timeline
	say   func(time.Duration, string)
	start time.Time
	rec   recorder
	ids   []chan struct{} // by content: closed once it is published

	saying sync.Mutex // one at a time calls say

	complained map[string]bool // by node; of listen, and of calm once that has ended
}

func (r *run) now() time.Duration { return time.Since(r.start) }

func (r *run) tell(format string, args ...any) {
	r.saying.Lock()
	defer r.saying.Unlock()
	r.say(r.now(), fmt.Sprintf(format, args...))
}

// until waits for a time of the timeline.
func (r *run) until(ctx context.Context, at time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(at - r.now()):
		return nil
	}
}

// warm lets everyone get and verify the first content, so that what the baseline
// measures has done all that it will do later.
func (r *run) warm(ctx context.Context) error {
	if err := r.publish(ctx, 0); err != nil {
		return err
	}
	var g errgroup.Group
	for _, n := range r.box.Nodes() {
		g.Go(func() error {
			if n.Name() != box.Publisher {
				if err := r.satisfy(ctx, n, Want{Node: n.Name()}); err != nil {
					return err
				}
			}
			r.verb(ctx, n, "cache", "verify")
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.tell("everyone has the first content; waiting for a baseline")
	return r.baseline(ctx)
}

// storm runs faults and load at once, until the time is over, all faults are
// healed, and all that is wanted is there or patience is at its end.
func (r *run) storm(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{}) // the load has ended: nobody has to be looked after any more
	faults, fctx := errgroup.WithContext(ctx)
	for _, n := range r.box.Nodes() {
		faults.Go(func() error { return r.look(fctx, n, over) })
	}
	for _, site := range r.plan.Box.Sites() {
		faults.Go(func() error { return r.line(fctx, site) })
	}
	faults.Go(func() error { r.listen(fctx, over); return nil })
	var load sync.WaitGroup
	patience, stop := context.WithTimeoutCause(fctx, r.plan.For+r.plan.Patience()-r.now(), errPatience)
	defer stop()
	for i := 1; i < len(r.plan.Contents); i++ {
		load.Go(func() { r.at(patience, r.plan.Contents[i].At, func() error { return r.publish(patience, i) }) })
	}
	for _, w := range r.plan.Wants {
		load.Go(func() { r.wanted(patience, w) })
	}
	for _, c := range r.plan.Chores {
		load.Go(func() { r.at(patience, c.At, func() error { r.chore(patience, c); return nil }) })
	}
	load.Go(func() { _ = r.until(patience, r.plan.For) })
	load.Wait()
	close(over)
	if err := faults.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// errPatience ends what is still under way long after the last fault, or didn't
// even come without any.
var errPatience = errors.New("patience is at its end")

func (r *run) at(ctx context.Context, at time.Duration, do func() error) {
	if r.until(ctx, at) == nil {
		_ = do() // what it came to is in the record
	}
}

// line lets faults happen to the link of a site.
func (r *run) line(ctx context.Context, site string) error {
	link := r.box.Link(site)
	for _, f := range r.plan.Faults {
		if f.Who != site || f.Kind.slot() != "link" {
			continue
		}
		if r.until(ctx, f.From) != nil {
			return nil
		}
		r.begin(f)
		err := errors.Join(link.Set(ctx, box.Up, f.Up), link.Set(ctx, box.Down, f.Down))
		if err == nil {
			_ = r.until(ctx, f.Until) // it is restored whatever ended the wait
		}
		heal, cancel := context.WithTimeout(context.WithoutCancel(ctx), healing)
		up, down := Links(r.plan.Box, site)
		err = errors.Join(err, link.Set(heal, box.Up, up), link.Set(heal, box.Down, down))
		cancel()
		if err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
		r.healed(f)
	}
	return nil
}

func (r *run) begin(f Fault) {
	r.tell("#%d %v", f.Number, f)
	r.rec.note(func(rec *Record) { rec.Faults[f.Number-1].From = r.now() })
}

func (r *run) healed(f Fault) {
	r.tell("#%d %s %s", f.Number, f.Kind.heals(), f.Who)
	r.rec.note(func(rec *Record) {
		rec.Faults[f.Number-1].Until = r.now()
		rec.Healed = max(rec.Healed, r.now())
	})
}

// calm hashes all that is kept, measures, looks at what is left behind, and ends
// and starts every node once more.
func (r *run) calm(ctx context.Context) error {
	r.tell("the load has ended; hashing all that is kept")
	var g errgroup.Group
	g.SetLimit(4)
	for _, n := range r.box.Nodes() {
		g.Go(func() error { r.verb(ctx, n, "cache", "verify"); r.verb(ctx, n, "cache", "stat"); return ctx.Err() })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.complaints()
	r.absent()
	r.tell("looking at what is left behind, and ending every node")
	defer func() { // also after an interrupt: the box is somebody's
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healing)
		defer cancel()
		for _, n := range r.box.Nodes() {
			if err := n.Start(ctx); err != nil {
				r.refuse(n, "start", err)
			}
		}
	}()
	for _, n := range r.box.Nodes() {
		g.Go(func() error {
			left, err := r.files.Left(ctx, n)
			if err != nil {
				return err
			}
			r.rec.note(func(rec *Record) { rec.Left[n.Name()] = left })
			if err := n.Stop(ctx); err != nil {
				r.refuse(n, "stop", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// listening is how often nodes' logs are looked at: their ends have some KiB, which
// is more than a node writes meanwhile.
const listening = 10 * time.Second

// listen looks for complaints until over is closed.
func (r *run) listen(ctx context.Context, over <-chan struct{}) {
	tick := time.NewTicker(listening)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-tick.C:
			r.complaints()
		}
	}
}

// complaints looks into the end of what nodes wrote for what the Go runtime says: a
// panic in a handler, or a data race, ends no process. One of each node is noted.
func (r *run) complaints() {
	all := r.box.Logs()
	for _, n := range r.box.Nodes() {
		if r.complained[n.Name()] {
			continue
		}
		log := logOf(all, n.Name())
		for _, word := range []string{"panic: ", "panic serving", "DATA RACE", "fatal error: "} {
			if _, text, ok := strings.Cut(log, word); ok {
				r.crash(n, word+text)
				r.complained[n.Name()] = true
				break
			}
		}
	}
}

// absent notes the nodes that don't run although nothing keeps them from it.
func (r *run) absent() {
	for _, n := range r.box.Nodes() {
		if !n.Running() {
			r.tell("FAIL %s doesn't run", n.Name())
			r.crash(n, logOf(r.box.Logs(), n.Name()))
		}
	}
}

func (r *run) crash(n box.Node, log string) {
	r.rec.note(func(rec *Record) { rec.Crashes = append(rec.Crashes, Crash{n.Name(), r.now(), log}) })
}

func (r *run) refuse(n box.Node, what string, err error) {
	r.tell("FAIL %s: %s: %v", n.Name(), what, err)
	r.rec.note(func(rec *Record) {
		rec.Refused = append(rec.Refused, Refusal{Node: n.Name(), What: what, At: r.now(), Said: err.Error()})
	})
}
