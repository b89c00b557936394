package api

import "time"

// AllChunks is the chunk of a question about a content as a whole.
const AllChunks = -1

// A Why explains how a content, or one of its chunks, came here, or why it doesn't.
type Why struct {
	Content string `json:"content,omitempty"` // empty while it is looked for by name
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Chunks  int    `json:"chunks"`      // 0 until the manifest is here
	Here    int    `json:"here_chunks"` // of these
	// Came says who gave whole chunks, or the last block of them, since the node
	// started: the most first. The chunks of Here that it leaves out were here
	// before, were added or imported, or were copied from this disk.
	Came Many[Came] `json:"came"`
	// Flow is how it stands if it is on its way here now; its reason says what it
	// waits for.
	Flow *FlowStatus `json:"flow,omitempty"`
	// Shunned are those who are asked nothing, because of bytes that were not what
	// was asked for.
	Shunned Many[Shunned] `json:"shunned"`
	Chunk   *ChunkStory   `json:"chunk,omitempty"` // the chunk that was asked about
	// Said are the last choices, in the order of time: of a chunk all that are
	// remembered, of a content those that are worth telling.
	Said Many[Sentence] `json:"said"`
	// Forgotten is whether there may have been older ones that are not remembered.
	Forgotten bool `json:"forgotten"`
}

// Came tells what one source gave of a content over one link class.
type Came struct {
	Peer   string    `json:"peer"`           // an HTTP server is origin:HOST:PORT; empty if forgotten
	Name   string    `json:"name,omitempty"` // if it is known now
	Link   string    `json:"link,omitempty"` // lan, wan, origin
	Chunks int       `json:"chunks"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// Shunned is a source that is asked nothing for a while.
type Shunned struct {
	Peer   string    `json:"peer"`
	Name   string    `json:"name,omitempty"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// A ChunkStory tells how a chunk came here, in a sentence.
type ChunkStory struct {
	Chunk int    `json:"chunk"` // in the manifest, from 0
	Size  int64  `json:"size_bytes"`
	Here  bool   `json:"here"`
	Text  string `json:"text"`
	// Of a chunk that came since the node started: when, from whom, over what.
	Time *time.Time `json:"time,omitempty"`
	Peer string     `json:"peer,omitempty"`
	Name string     `json:"name,omitempty"`
	Link string     `json:"link,omitempty"`
}

// A Sentence is a decision told to a person.
type Sentence struct {
	Decision
	Name string `json:"name,omitempty"` // of the peer
	Text string `json:"text"`
	// More is how many alike came right before it, of other chunks or of none, and are
	// left out.
	More int `json:"more,omitempty"`
}
