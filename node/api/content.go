package api

import (
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// ShowFiles is the most files that a ContentDetail lists.
const ShowFiles = 1000

// FindTimeout is how long a Get without a timeout looks for somebody who has
// the content. Once somebody has it, it goes on for as long as it takes.
const FindTimeout = 30 * time.Second

// An AddRequest asks to publish files. With several paths, or with a folder, the
// content is a tree.
type AddRequest struct {
	Paths   []string          `json:"paths"` // absolute
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Type    string            `json:"content_type,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Progress tells how far a node is with reading files of its own.
type Progress struct {
	Phase   string         `json:"phase"` // read, verify
	Done    int64          `json:"done_bytes"`
	Total   int64          `json:"total_bytes"`
	Rate    bandwidth.Rate `json:"rate_bits_per_second"`
	Elapsed Seconds        `json:"seconds"`
}

// An AddResult tells what was published.
type AddResult struct {
	Content string         `json:"content"` // the content id
	Name    string         `json:"name,omitempty"`
	Version string         `json:"version,omitempty"`
	Type    string         `json:"content_type,omitempty"`
	Size    int64          `json:"size_bytes"`
	New     int64          `json:"new_bytes"` // of these, not held before
	Files   int            `json:"files"`
	Chunks  int            `json:"chunks"`
	Signer  string         `json:"signer"` // name or peer id in the release's signature
	Rate    bandwidth.Rate `json:"rate_bits_per_second"`
	Elapsed Seconds        `json:"seconds"`
}

// A GetRequest asks to bring a content here and to write a copy for the user.
type GetRequest struct {
	Ref    string `json:"ref"`
	Output string `json:"output"` // absolute
	// Overwrite allows to replace what stands at Output. An older copy made by
	// a get is replaced, anything else is refused without it.
	Overwrite bool `json:"overwrite,omitempty"`
	// Timeout ends the whole get: not-found if nobody who has it was found by
	// then, else timed-out. Zero: see FindTimeout.
	Timeout Seconds `json:"timeout_seconds,omitempty"`
}

// Phases of a get.
const (
	Finding  = "finding"  // nobody who has it is known yet
	Fetching = "fetching" // bytes arrive
	Waiting  = "waiting"  // Reason says for what
	Writing  = "writing"  // all verified, the user's copy is written
)

// A FlowStatus tells how a content on its way to this node stands.
type FlowStatus struct {
	Content string         `json:"content,omitempty"`
	Name    string         `json:"name,omitempty"`
	Version string         `json:"version,omitempty"`
	Phase   string         `json:"phase"`
	Reason  string         `json:"reason,omitempty"` // of waiting: discovery.Reason
	Done    int64          `json:"done_bytes"`       // verified here, or written while Writing
	Total   int64          `json:"total_bytes"`      // 0 until the manifest is here
	Rate    bandwidth.Rate `json:"rate_bits_per_second"`
	From    ByLink         `json:"from_bytes"` // fetched by this get
	Sources ByLink         `json:"sources"`    // who is asked now
	Wasted  Wasted         `json:"wasted"`
	Left    Seconds        `json:"left_seconds,omitempty"` // 0 while unknown
	Elapsed Seconds        `json:"seconds"`
}

// Wasted counts bytes that crossed a network for nothing.
type Wasted struct {
	Duplicate int64 `json:"duplicate_bytes"`
	Corrupt   int64 `json:"corrupt_bytes"`
}

// A GetResult tells what a get brought.
type GetResult struct {
	Content  string  `json:"content"`
	Name     string  `json:"name,omitempty"`
	Version  string  `json:"version,omitempty"`
	Output   string  `json:"output"`
	Size     int64   `json:"size_bytes"`
	Files    int     `json:"files"`
	Here     int64   `json:"here_bytes"` // held before this get began
	From     ByLink  `json:"from_bytes"` // fetched by this get
	Wasted   Wasted  `json:"wasted"`
	Verified bool    `json:"verified"`
	Elapsed  Seconds `json:"seconds"`
}

// A Content is one that a node holds, wholly or in part.
type Content struct {
	ID       string    `json:"content"`
	Name     string    `json:"name,omitempty"`
	Version  string    `json:"version,omitempty"`
	Type     string    `json:"content_type,omitempty"`
	Size     int64     `json:"size_bytes"`
	Here     int64     `json:"here_bytes"` // verified here
	Files    int       `json:"files"`
	Chunks   int       `json:"chunks"`
	Complete bool      `json:"complete"`
	Added    time.Time `json:"added"`
}

// A ContentDetail is a content with what is in it.
type ContentDetail struct {
	Content
	Labels   map[string]string `json:"labels,omitempty"`
	Releases Many[Release]     `json:"releases"`
	List     Many[File]        `json:"list"` // the first ShowFiles files and folders
}

// A Release is a publisher's signed statement about a content.
type Release struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Sequence  uint64    `json:"sequence"`
	Published time.Time `json:"published"`
	Signer    string    `json:"signer"`
}

// A File is a file or folder of a content.
type File struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size_bytes"`
	Mode    string    `json:"mode"` // as ls writes it: -rw-r--r--
	ModTime time.Time `json:"modified"`
}

// Removed tells what was removed.
type Removed struct {
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Freed   int64  `json:"freed_bytes"`
}

// A VerifyResult tells what reading and hashing a content showed. Bad blocks
// are no longer served, and are fetched anew by the next get.
type VerifyResult struct {
	Content  string  `json:"content"`
	Name     string  `json:"name,omitempty"`
	Version  string  `json:"version,omitempty"`
	Checked  int64   `json:"checked_bytes"`
	Bad      int64   `json:"bad_bytes"`
	BadCount int     `json:"bad_blocks"`
	Complete bool    `json:"complete"` // all of the content is here and good
	Elapsed  Seconds `json:"seconds"`
}
