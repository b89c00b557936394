package dht

import (
	"context"
	"fmt"
	"time"
)

// Stats is what there is to say of the DHT at a moment.
type Stats struct {
	Server  bool      // answers others
	Online  bool      // a server answered when we last had to know
	Since   time.Time // when Online last changed; zero if it never did
	Servers int       // others in the routing table
	Keys    int       // announced by this node
	Pending int       // of them, not told yet in this round
	Told    int64     // keys told since the start, each round counted
	Failed  int64     // keys that no server took
	Next    time.Time // when the next part of a round is due; zero if none is
}

// Stats returns the state of the DHT.
func (d *DHT) Stats(ctx context.Context) (Stats, error) {
	st, err := d.prov.Stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("ask for the state of announcing: %w", err)
	}
	return Stats{
		Server:  d.cfg.Server,
		Online:  d.reached.Load(),
		Since:   st.Connectivity.Since,
		Servers: d.kad.RoutingTable().Size(),
		Keys:    int(max(st.Schedule.Keys, 0)), // -1 if the list can't be read
		Pending: int(st.Queues.PendingKeyProvides) + st.Operations.Ongoing.KeyProvides + st.Operations.Ongoing.KeyReprovides,
		Told:    st.Operations.Past.KeysProvided,
		Failed:  st.Operations.Past.KeysFailed,
		Next:    st.Schedule.NextReprovideAt,
	}, nil
}

// bucket is how many servers kad-dht keeps of each part of the keyspace, and how
// many a lookup ends with.
const bucket = 20

// Size returns how many servers the DHT has by estimate, this node among them. It
// returns false while there are many and too little is known to say how many: the
// estimate takes lookups that ended with a full bucket, five of them within two
// hours (kad-dht's netsize). The first of these a node makes when it comes online.
func (d *DHT) Size() (int, bool) {
	known := d.kad.RoutingTable().Size()
	if known < bucket {
		return known + 1, true // it knows them all
	}
	n, err := d.kad.NetworkSize()
	if err != nil {
		return 0, false
	}
	return max(int(n), known+1), true
}
