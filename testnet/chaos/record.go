package chaos

import (
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

// A Record is what happened in a run. Times count from the begin of the faults;
// what was before is negative.
type Record struct {
	Contents []Published
	Faults   []Done // by Fault.Number-1
	Gets     []Get
	Checks   []Check
	Crashes  []Crash
	Refused  []Refusal
	Missing  []Missing
	Healed   time.Duration // when the last fault was over
	Arrived  time.Duration // when the last want was satisfied

	Usage map[string]Growth   // by node
	Left  map[string][]string // by node: files that should not be there
}

// Published is a content that the publisher added.
type Published struct {
	ID, Digest string
	At         time.Duration
	Tries      int
}

// Done says when a fault began and was over.
type Done struct{ From, Until time.Duration }

// A Get is one attempt to satisfy a Want.
type Get struct {
	Want, Try int
	Node      string
	Content   int
	From      time.Duration
	Until     time.Duration
	Code      int // exit code; hung if it had to be ended
	Said      string
	Digest    string // of the copy, if the code is 0
	Corrupt   int64  // bytes that others gave and that were wrong
	Duplicate int64
	Fetched   int64
}

// hung is the code of what did not end by itself.
const hung = -1

// A Check is a verb other than get, and what it found.
type Check struct {
	Node, Verb string
	From       time.Duration
	Until      time.Duration
	Code       int
	Error      api.Code // why, if the code isn't 0 and it said so
	Said       string
	Bad        int // blocks that went bad on disk
	Read       int64
}

// A Crash is a process that ended by itself, or wrote that it panicked.
type Crash struct {
	Node string
	At   time.Duration
	Log  string // its end
}

// A Refusal is a node that did not start, or did not end well.
type Refusal struct {
	Node, What string
	At         time.Duration
	Said       string
}

// Missing is a want that was not satisfied in the end.
type Missing struct {
	Want, Content int
	Node          string
}

// Growth is what a process took before the faults and when all was over.
type Growth struct{ Before, After box.Usage }

// shift lets times count from so much later.
func (r *Record) shift(by time.Duration) {
	for i := range r.Gets {
		r.Gets[i].From, r.Gets[i].Until = r.Gets[i].From-by, r.Gets[i].Until-by
	}
	for i := range r.Checks {
		r.Checks[i].From, r.Checks[i].Until = r.Checks[i].From-by, r.Checks[i].Until-by
	}
	for i := range r.Contents {
		r.Contents[i].At -= by
	}
}

// recorder writes a Record, from several goroutines.
type recorder struct {
	mu  sync.Mutex
	rec Record
}

func (r *recorder) note(f func(*Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.rec)
}
