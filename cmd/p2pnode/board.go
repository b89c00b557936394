package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/node/api"
)

// boardEvery is how often a terminal's lines are drawn anew.
const boardEvery = 200 * time.Millisecond

// A board shows how a demo goes: a line for each site, written over on a
// terminal, and a line that stays for each thing that is done.
type board struct {
	out   io.Writer
	live  io.Writer // nil if there is no terminal
	json  bool
	began time.Time
	done  chan struct{}
	ended chan struct{}

	mu    sync.Mutex
	sites []boardSite
	drawn int // lines on the terminal now
}

// A boardSite is what is known of a site.
type boardSite struct {
	Site  string      `json:"site"`
	Nodes []boardNode `json:"-"`
	// Of all its nodes that fetch:
	Whole int        `json:"complete"`
	Want  int        `json:"nodes"`
	Done  int64      `json:"done_bytes"`
	Total int64      `json:"total_bytes"`
	From  api.ByLink `json:"from_bytes"`
	rate  bandwidth.Rate
}

type boardNode struct {
	publisher bool
	whole     bool
	status    api.FlowStatus
}

func newBoard(a *app, sites []demoSite) *board {
	b := &board{out: a.out, json: a.json, began: time.Now(), done: make(chan struct{}), ended: make(chan struct{})}
	if f, ok := terminal(a.err); ok && !a.json && a.progress != "none" && overwrites(f) {
		b.live = a.err
	}
	for i, s := range sites {
		site := boardSite{Site: s.Name, Nodes: make([]boardNode, len(s.Nodes))}
		if i == 0 {
			site.Nodes[0].publisher = true
		}
		b.sites = append(b.sites, site)
	}
	go b.redraw()
	return b
}

// redraw keeps the live lines, or the status lines of --json, up to date.
func (b *board) redraw() {
	defer close(b.ended)
	tick := time.NewTicker(boardEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-tick.C:
			b.mu.Lock()
			b.sum()
			switch {
			case b.live != nil:
				b.draw()
			case b.json:
				line, err := api.MarshalLine(api.StatusLine, struct {
					Sites   []boardSite `json:"sites"`
					Elapsed api.Seconds `json:"seconds"`
				}{b.sites, api.Seconds(time.Since(b.began))})
				if err == nil {
					_, _ = b.out.Write(line) // progress is no part of what must arrive
				}
			}
			b.mu.Unlock()
		}
	}
}

// Close ends the board and takes its live lines away.
func (b *board) Close() {
	close(b.done)
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
}

func (b *board) published(r api.AddResult, after time.Duration) {
	b.line(after, "publish", fmt.Sprintf("%s%s, %s   %s   signed by %s", title(r.Name, r.Version, "   "), size(r.Size), count(r.Chunks, "chunk"), r.Content, orNone(r.Signer)))
}

func (b *board) flow(site, node int, s api.FlowStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sites[site].Nodes[node].status = s
}

// complete takes a node's result; the site's line follows with its last node.
func (b *board) complete(site, node int, r api.GetResult, after time.Duration) {
	b.mu.Lock()
	n := &b.sites[site].Nodes[node]
	n.whole = true
	n.status = api.FlowStatus{Done: r.Size, Total: r.Size, From: r.From}
	b.sum()
	s := b.sites[site]
	b.mu.Unlock()
	if s.Whole < s.Want {
		return
	}
	all := fmt.Sprintf("%d/%d nodes have it   over the WAN %s   from the own site %s", s.Whole, s.Want, size(s.From.WAN), size(s.From.LAN))
	if len(s.Nodes) > s.Want {
		all += "   (and the publisher)"
	}
	b.line(after, s.Site, all)
}

// sum brings the figures of the sites up to date. Callers hold mu.
func (b *board) sum() {
	for i := range b.sites {
		s := &b.sites[i]
		*s = boardSite{Site: s.Site, Nodes: s.Nodes}
		for _, n := range s.Nodes {
			if n.publisher {
				continue
			}
			s.Want++
			if n.whole {
				s.Whole++
			}
			s.Done += n.status.Done
			s.Total += n.status.Total
			s.From.LAN += n.status.From.LAN
			s.From.WAN += n.status.From.WAN
			s.rate += n.status.Rate
		}
	}
}

// line writes a line that stays.
func (b *board) line(after time.Duration, what, text string) {
	if b.json {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	fmt.Fprintf(b.out, "[%s] %-9s %s\n", clock(after), what, text)
}

// draw writes the live lines over those that are there. Callers hold mu.
func (b *board) draw() {
	b.erase()
	for _, s := range b.sites {
		fmt.Fprintf(b.live, "[%s] %-9s %d/%d nodes   %s  %s   %s   wan %s  lan %s\n",
			clock(time.Since(b.began)), s.Site, s.Whole, s.Want, percent(s.Done, max(s.Total, 1)), share(s.Done, s.Total), speed(s.rate), size(s.From.WAN), size(s.From.LAN))
		b.drawn++
	}
}

// erase takes the live lines away. Callers hold mu.
func (b *board) erase() {
	if b.drawn > 0 {
		fmt.Fprintf(b.live, "\x1b[%dA\x1b[J", b.drawn)
		b.drawn = 0
	}
}
