package play

import (
	"time"
)

// A Record is what was seen while a scenario was played. Times count from the
// scenario's 0s. Its JSON is part of Result's.
type Record struct {
	Length   time.Duration `json:"length_ns"`
	Happened []Happened    `json:"events"`
	Gets     []Got         `json:"gets"`
	Loads    []Played      `json:"foreground"`

	// Series of what was sampled, each with times of its own.
	Nodes []NodeSeries `json:"nodes"`
	Links []LinkSeries `json:"links"`
}

// Happened is an event that took place.
type Happened struct {
	Line  int           `json:"line"`
	At    time.Duration `json:"at_ns"`
	Took  time.Duration `json:"took_ns"`
	What  string        `json:"what"`
	Error string        `json:"error,omitempty"`
}

// Got is what became of a content that a node was to get.
type Got struct {
	Node    string        `json:"node"`
	Site    string        `json:"site"` // where it stood at the beginning
	Content string        `json:"content"`
	Asked   time.Duration `json:"asked_ns"`
	Ended   time.Duration `json:"ended_ns"` // 0: never
	Exit    int           `json:"exit"`     // of the verb
	Said    string        `json:"said,omitempty"`
	Right   bool          `json:"right"` // the copy's sha256 is that of what was published
	Again   int           `json:"again"` // how often it was asked again, as its node had ended

	// As the node counts, over all tries.
	LAN    int64 `json:"lan_bytes"`
	WAN    int64 `json:"wan_bytes"`
	Local  int64 `json:"local_bytes"`
	Wasted int64 `json:"wasted_bytes"`
}

func (g Got) done() bool { return g.Ended > 0 && g.Exit == 0 }

// Played is foreground traffic: what its users felt alone, and with us.
type Played struct {
	Kind  string        `json:"kind"`
	Site  string        `json:"site"`
	At    time.Duration `json:"at_ns"`
	For   time.Duration `json:"for_ns"`
	Alone Felt          `json:"alone"`
	With  Felt          `json:"with_us"`

	line int // of its event
}

// Felt is what the users of a load generator felt. What a kind doesn't have is 0.
type Felt struct {
	Rate  float64       `json:"bits_per_second"` // bulk: what arrived
	Page  time.Duration `json:"page_ns"`         // web: median time of a page
	Pages int           `json:"pages"`
	Delay time.Duration `json:"delay_p99_ns"` // voip
	Lost  float64       `json:"lost_percent"`
	MOS   float64       `json:"mos"`
}

// A NodeSeries is what was seen of a node.
type NodeSeries struct {
	Node    string     `json:"node"`
	Site    string     `json:"site"`
	Have    []Have     `json:"have"`
	PeakRSS int64      `json:"peak_rss_bytes"`
	RSS     []RSSPoint `json:"rss"`
}

// Have says how much of a content a node had verified.
type Have struct {
	At      time.Duration `json:"at_ns"`
	Content string        `json:"content"`
	Bytes   int64         `json:"bytes"`

	// Anew is of the first sample after some that the node didn't answer: nobody knows
	// when what is new in it arrived.
	Anew bool `json:"anew,omitempty"`
}

// An RSSPoint is what a node's process took.
type RSSPoint struct {
	At    time.Duration `json:"at_ns"`
	Bytes int64         `json:"bytes"`
}

// A LinkSeries is what a site's link has carried since it was made.
type LinkSeries struct {
	Site   string      `json:"site"`
	Points []LinkPoint `json:"points"`
}

// A LinkPoint is a sample of both directions of a link, bytes on the wire. Down and
// Up are what arrived of nodes' traffic; Offered what they tried to send into the site.
type LinkPoint struct {
	At             time.Duration `json:"at_ns"`
	Down           int64         `json:"down_bytes"`
	Up             int64         `json:"up_bytes"`
	Offered        int64         `json:"offered_down_bytes"`
	ForegroundDown int64         `json:"foreground_down_bytes"`
	ForegroundUp   int64         `json:"foreground_up_bytes"`
	OtherDown      int64         `json:"other_down_bytes"`
}

// at returns what had been carried at a time: the last sample up to then.
func (l LinkSeries) at(t time.Duration) LinkPoint {
	var last LinkPoint
	for i, p := range l.Points {
		if p.At > t && i > 0 {
			break
		}
		last = p
	}
	return last
}

// between returns what was carried from a time to another.
func (l LinkSeries) between(from, to time.Duration) LinkPoint {
	a, b := l.at(from), l.at(to)
	return LinkPoint{
		At: b.At - a.At, Down: b.Down - a.Down, Up: b.Up - a.Up, Offered: b.Offered - a.Offered,
		ForegroundDown: b.ForegroundDown - a.ForegroundDown, ForegroundUp: b.ForegroundUp - a.ForegroundUp, OtherDown: b.OtherDown - a.OtherDown,
	}
}
