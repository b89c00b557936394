package rank

import (
	"cmp"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// nextChunk is what one more request would add: the mean size of a chunk.
	nextChunk = 1 << 20 // bytes

	// unknownRate is what an untried candidate is taken to deliver when there are
	// several of them, and all but one have to stand back.
	unknownRate = 10 * bandwidth.MbitPerSecond

	// penalty is what a failure adds to the expected time, doubling for each in
	// a row: 1 s, 3 s, 7 s, ... 63 s. Longer than a good source needs for some
	// chunks, short enough that a source that is the only one is asked again. A
	// block with wrong bytes counts as two failures, and isn't forgotten.
	penalty    = time.Second
	badWeight  = 2
	maxTrouble = 6

	// longest is where expected times stop to differ.
	longest = time.Hour

	// clearly is by how much a rate has to be higher to be called faster: rates
	// are smoothed guesses.
	clearly = 1.1
)

// Rank returns the candidates in the order in which they should be asked, each
// with the reason for its place. Those banned at now are left out. It returns
// the same for the same candidates, in whatever order they come.
func Rank(cs []discovery.Candidate, now time.Time) []discovery.Choice {
	scored := make([]score, 0, len(cs))
	for _, c := range cs {
		if c.Banned.After(now) {
			continue
		}
		scored = append(scored, score{c, expected(c), untried(c)})
	}
	slices.SortStableFunc(scored, score.compare)
	explore(scored)
	choices := make([]discovery.Choice, len(scored))
	for i, s := range scored {
		choices[i] = discovery.Choice{Candidate: s.Candidate, Reason: reason(scored, i)}
	}
	return choices
}

// A score is a candidate with what its place follows from.
type score struct {
	discovery.Candidate
	eta     time.Duration // until one more chunk would be here, penalties included
	untried bool
}

func untried(c discovery.Candidate) bool { return c.Rate == 0 && c.Failures == 0 && c.Bad == 0 }

// expected returns the time until one more chunk from c would be here.
func expected(c discovery.Candidate) time.Duration {
	rate := c.Rate
	if rate <= 0 {
		rate = unknownRate
	}
	carry := float64(max(c.Pending, 0)+nextChunk) / rate.BytesPerSecond()
	eta := c.Latency + time.Duration(min(carry, longest.Seconds())*float64(time.Second))
	trouble := min(c.Failures+badWeight*c.Bad, maxTrouble)
	return eta + penalty*(1<<max(trouble, 0)-1)
}

func (s score) compare(o score) int {
	return cmp.Or(
		cmp.Compare(s.Link, o.Link), // lan, wan, origin
		cmp.Compare(s.eta, o.eta),
		cmp.Compare(s.Peer, o.Peer), // any order, but always the same
	)
}

// explore moves one untried candidate of each link to its front, unless one of
// them is being tried: then a request is under way that will tell.
func explore(scored []score) {
	for start := 0; start < len(scored); {
		link := scored[start].Link
		end := start + 1
		for end < len(scored) && scored[end].Link == link {
			end++
		}
		group := scored[start:end]
		start = end
		if slices.ContainsFunc(group, func(s score) bool { return s.untried && s.Pending > 0 }) {
			continue
		}
		if i := slices.IndexFunc(group, func(s score) bool { return s.untried }); i > 0 {
			first := group[i]
			copy(group[1:i+1], group[:i])
			group[0] = first
		}
	}
}

// reason returns what puts scored[i] where it is.
func reason(scored []score, i int) discovery.Reason {
	s, last := scored[i], scored[len(scored)-1]
	switch {
	case len(scored) == 1:
		return discovery.OnlySource
	case s.untried:
		return discovery.Untried
	case s.Link != last.Link && s.Link == bandwidth.LAN:
		return discovery.SameSite
	case i+1 < len(scored) && float64(s.Rate) > clearly*float64(scored[i+1].Rate):
		return discovery.Faster
	}
	return discovery.LessLoaded
}
