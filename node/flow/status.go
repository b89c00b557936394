package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// A Status says how far a flow is.
type Status struct {
	Content content.ID
	// Bytes: of the content, verified, and verified before the flow began.
	Total, Done, Resumed int64
	Rate                 bandwidth.Rate // verified in the last few seconds
	Left                 time.Duration  // at that rate; 0 if it can't be told
	Shares               [len(bandwidth.Links)]Share
	// Waiting says why nothing is on its way; Unknown while something is.
	Waiting  discovery.Reason
	Complete bool
}

func (c *core) status(now time.Time) Status {
	t := &c.tally
	st := Status{
		Content: c.content, Total: t.total, Done: t.total - t.missing, Resumed: t.resumed,
		Rate: t.meter.rate(now), Shares: t.shares, Waiting: c.waiting, Complete: t.missing == 0,
	}
	for i, l := range bandwidth.Links {
		st.Shares[i].Link = l
		for _, s := range c.sources {
			if s.link == l {
				st.Shares[i].Sources++
			}
		}
	}
	if st.Complete {
		st.Waiting = discovery.Unknown
	} else if st.Rate > 0 {
		st.Left = seconds(float64(t.missing) / st.Rate.BytesPerSecond())
	}
	return st
}
