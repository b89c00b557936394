package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

const (
	// A get gives up after getTimeout, by itself. So much later, with what freezes
	// its node meanwhile, it hangs.
	getTimeout = time.Minute
	hangs      = getTimeout + 2*longest + 30*time.Second

	// verbTimeout is for verbs that read a disk at most.
	verbTimeout = time.Minute + 2*longest

	again = time.Second // between two attempts
)

// publish adds a content, as often as it takes.
func (r *run) publish(ctx context.Context, i int) error {
	c, n := r.plan.Contents[i], r.box.Node(box.Publisher)
	path := n.Path(copyPrefix + c.Name)
	digest, err := r.files.Sample(ctx, n, path, c.Size, c.Seed)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		check, out := r.ask(ctx, verbTimeout, n, "add", "-q", path, "--name", c.Name, "--version", "1")
		r.rec.note(func(rec *Record) { rec.Checks = append(rec.Checks, check) })
		if check.Code == 0 {
			id := strings.TrimSpace(out)
			r.rec.note(func(rec *Record) { rec.Contents[i] = Published{id, digest, r.now(), try} })
			r.tell("published %s, %d KiB: %s", c.Name, c.Size>>10, id)
			close(r.ids[i])
			return r.files.Remove(ctx, n, path)
		}
		if err := r.until(ctx, r.now()+again); err != nil {
			return fmt.Errorf("publish %s: %w; it said:\n%s", c.Name, err, check.Said)
		}
	}
}

// wanted waits until a content is there and wanted, then gets it. What didn't come
// in the end is noted.
func (r *run) wanted(ctx context.Context, w Want) {
	n := r.box.Node(w.Node)
	err := r.until(ctx, w.At)
	if err == nil {
		select {
		case <-r.ids[w.Content]:
			err = r.satisfy(ctx, n, w)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	r.rec.note(func(rec *Record) {
		if err != nil {
			rec.Missing = append(rec.Missing, Missing{w.Number, w.Content, w.Node})
			return
		}
		rec.Arrived = max(rec.Arrived, r.now())
	})
}

// satisfy gets a content, as often as it takes, and takes the copy away again once
// it was hashed.
func (r *run) satisfy(ctx context.Context, n box.Node, w Want) error {
	path := n.Path(fmt.Sprintf(copyPrefix+"get%d", w.Number))
	for try := 1; ; try++ {
		g, err := r.get(ctx, n, w, try, path)
		if err != nil {
			return err
		}
		if g.Code != 0 && ctx.Err() != nil {
			return context.Cause(ctx) // it was ended by us
		}
		r.rec.note(func(rec *Record) { rec.Gets = append(rec.Gets, g) })
		if g.Code == 0 {
			return nil
		}
		if err := r.until(ctx, r.now()+again); err != nil {
			return err
		}
	}
}

func (r *run) get(ctx context.Context, n box.Node, w Want, try int, path string) (Get, error) {
	id := r.rec.id(w.Content)
	check, out := r.ask(ctx, hangs, n, "get", id, "-o", path, "--overwrite", "--timeout", getTimeout.String(), "--json")
	g := Get{Want: w.Number, Try: try, Node: n.Name(), Content: w.Content, From: check.From, Until: check.Until, Code: check.Code, Said: check.Said}
	last := lastOf(out)
	g.Corrupt, g.Duplicate, g.Fetched = last.Wasted.Corrupt, last.Wasted.Duplicate, last.From.Total()
	if g.Code != 0 {
		if ctx.Err() == nil {
			r.tell("%s: get %d of %s ended with %d after %.1f s, try %d: %s", n.Name(), w.Number, r.plan.Contents[w.Content].Name, g.Code, (g.Until - g.From).Seconds(), try, oneLine(g.Said))
		}
		return g, nil
	}
	digest, err := r.files.Digest(ctx, n, path)
	if err != nil {
		return g, err
	}
	g.Digest = digest
	r.tell("%s has %s (get %d, %.1f s)", n.Name(), r.plan.Contents[w.Content].Name, w.Number, (g.Until - g.From).Seconds())
	return g, r.files.Remove(ctx, n, path)
}

// oneLine is the first line of what a verb said.
func oneLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func (r *recorder) id(content int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.Contents[content].ID
}

// progress is what the lines of a get and its summary have in common.
type progress struct {
	Type   string     `json:"type"`
	Wasted api.Wasted `json:"wasted"`
	From   api.ByLink `json:"from_bytes"`
}

// lastOf returns the last line of a get that tells of progress.
func lastOf(out string) progress {
	var last progress
	for line := range strings.Lines(out) {
		var p progress
		if json.Unmarshal([]byte(line), &p) == nil && p.Type != "error" {
			last = p
		}
	}
	return last
}

// chore runs a verb on a node that may be down, on a content that may not be there.
func (r *run) chore(ctx context.Context, c Chore) {
	n := r.box.Node(c.Node)
	if c.Verb == "gc" {
		r.verb(ctx, n, "cache", "gc", "--all", "--yes")
		return
	}
	select {
	case <-r.ids[c.Content]:
	default:
		return // not published yet: the publisher is down
	}
	verb := []string{"content", c.Verb, r.rec.id(c.Content)}
	if c.Verb == "rm" {
		verb = append(verb, "--yes")
	}
	r.verb(ctx, n, verb...)
}

// verb runs a verb and notes what it found.
func (r *run) verb(ctx context.Context, n box.Node, verb ...string) {
	check, out := r.ask(ctx, verbTimeout, n, append(verb, "--json")...)
	var found struct {
		Bad    int      `json:"bad_blocks"`
		Read   int64    `json:"checked_bytes"`
		Damage int      `json:"damaged_contents"`
		Error  api.Code `json:"code"`
		Scrub  struct {
			Damaged int `json:"damaged_blocks"`
		} `json:"scrub"`
	}
	for line := range strings.Lines(out) {
		_ = json.Unmarshal([]byte(line), &found) // the last counts, and has all of them
	}
	check.Bad, check.Read, check.Error = found.Bad+found.Damage+found.Scrub.Damaged, found.Read, found.Error
	r.rec.note(func(rec *Record) { rec.Checks = append(rec.Checks, check) })
	if ctx.Err() == nil && verb[0] == "content" {
		r.tell("%s: %s ended with %d %s", n.Name(), strings.Join(verb[:2], " "), check.Code, oneLine(check.Said))
	}
}

// ask runs a verb for at most so long.
func (r *run) ask(ctx context.Context, most time.Duration, n box.Node, verb ...string) (Check, string) {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	c := Check{Node: n.Name(), Verb: strings.Join(verb, " "), From: r.now()}
	a, err := n.Ask(bounded, verb...)
	c.Until, c.Code, c.Said = r.now(), a.Code, tail(a.Stderr)
	if err != nil {
		c.Code, c.Said = hung, err.Error()
	}
	return c, a.Stdout
}

// tail is enough of a text to see what it says.
func tail(text string) string {
	const most = 2 << 10
	return text[max(0, len(text)-most):]
}
