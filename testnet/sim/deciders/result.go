package deciders

import (
	"fmt"
	"slices"
	"time"
)

// A Tally counts what a run was made of. Every block sent is Fresh, Again, Late,
// Lost or, at the end, still on its way.
type Tally struct {
	Moments int64 // of the heap
	Told    int64 // events that deciders took

	// Blocks.
	Sent   int64
	Fresh  int64 // were missing where they arrived
	Again  int64 // weren't
	Late   int64 // nobody waited for them any more
	Lost   int64 // one of the ends was off
	Flying int64 // at the end

	Refused int64 // requests
	Forged  int64 // blocks sent by a node that hasn't them: always 0
}

// A Result is what came of a run.
type Result struct {
	Tally
	End        time.Duration // of the last one's completion, or the limit
	Unfinished int           // nodes that lack something

	Done []time.Duration // when each node that finished did, the first first

	// From a node's wish to its completion, of those that finished.
	First, Median, Most95, Last time.Duration

	// Times the size of the content.
	Copies     float64 // that came over the WAN into a site, on average
	MostCopies float64 // into the site where they are most
	Uplink     float64 // that the publisher sent over the WAN
	Waste      float64 // that came to a node beyond the first, on average
}

// String returns one line.
func (r *Result) String() string {
	return fmt.Sprintf("median %v, 95%% %v, last %v; %.2f copies per site, %.2f at most; uplink %.2f; %d unfinished",
		r.Median.Round(time.Millisecond), r.Most95.Round(time.Millisecond), r.Last.Round(time.Millisecond), r.Copies, r.MostCopies, r.Uplink, r.Unfinished)
}

func (s *sim) result() *Result {
	for c := range s.conns.all {
		s.tally.Flying += int64(s.conns.all[c].flight.len())
	}
	r := &Result{Tally: s.tally, End: s.now, Unfinished: s.unfinished}
	var took []time.Duration
	for n := range s.nodes {
		if x := &s.nodes[n]; n != Publisher && x.missing == 0 {
			took = append(took, x.done-s.plan.Wish[n])
			r.Done = append(r.Done, x.done)
		}
	}
	slices.Sort(took)
	slices.Sort(r.Done)
	if len(took) > 0 {
		r.First, r.Last = took[0], took[len(took)-1]
		r.Median, r.Most95 = percentile(took, 50), percentile(took, 95)
	}
	blocks := float64(s.plan.Chunks * s.plan.Blocks)
	for i := 1; i < len(s.sites); i++ {
		copies := float64(s.links[s.wan(int32(i))+1].served) / blocks
		r.Copies += copies / float64(len(s.sites)-1)
		r.MostCopies = max(r.MostCopies, copies)
	}
	r.Uplink = float64(s.links[s.wan(0)].served) / blocks
	r.Waste = float64(s.tally.Again+s.tally.Late) / blocks / float64(len(s.nodes)-1)
	return r
}

// percentile returns the least of some sorted times that at least p percent of them
// don't exceed (nearest rank).
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

// A Bound is the least there can be, for wishes that come all at once.
type Bound struct {
	Time   time.Duration
	Uplink float64 // of the publisher, times the size of the content
}

// HubBound is the least if only the publisher sends over the WAN: its uplink, or
// the slowest site's downlink, is busy all the time.
func HubBound(p *Plan) Bound {
	size, sites := float64(p.size()), float64(len(p.Sites)-1)
	return Bound{seconds(max(sites*size/p.Sites[0].Up.BytesPerSecond(), size/p.slowest())), sites}
}

// MeshBound is the least if sites pass on what they have: R. Kumar, K. Ross,
// "Peer-Assisted File Distribution: The Minimum Distribution Time", IEEE HotWeb
// 2006, theorem 1, with sites as its peers. Chunks being finite, what is real
// needs about the hops of a chunk more.
func MeshBound(p *Plan) Bound {
	size, sites := float64(p.size()), float64(len(p.Sites)-1)
	var up float64
	for _, s := range p.Sites {
		up += s.Up.BytesPerSecond()
	}
	return Bound{seconds(max(size/p.Sites[0].Up.BytesPerSecond(), size/p.slowest(), sites*size/up)), 1}
}

// slowest is the rate of the slowest way to a node, in bytes per second.
func (p *Plan) slowest() float64 {
	least := p.Port
	for _, s := range p.Sites[1:] {
		least = min(least, s.Down)
	}
	return least.BytesPerSecond()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
