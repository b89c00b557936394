package wan

import "time"

// A Tally is a number of packets and their bytes on the wire, overhead included.
type Tally struct {
	Packets int64 `json:"packets"`
	Bytes   int64 `json:"bytes"`
}

func (t *Tally) add(bytes int) {
	t.Packets++
	t.Bytes += int64(bytes)
}

// A Count is what became of the packets of a class. What was offered is the sum
// of all other tallies and of what is still under way.
type Count struct {
	Offered   Tally `json:"offered"`
	Delivered Tally `json:"delivered"`
	Full      Tally `json:"full"` // dropped: no room in the queue
	Lost      Tally `json:"lost"` // by chance
	Out       Tally `json:"out"`  // in an outage

	// Left is how many packets have left the queue, to arrive or to be lost, and
	// Queueing the time that all of them together took for it.
	Left     int64         `json:"left"`
	Queueing time.Duration `json:"queueing_ns"`
}
