package api

import (
	"strings"
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
	Paths   []string          `json:"paths"` // absolute; or one http or https address of a file
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Type    string            `json:"content_type,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Unpack publishes the files that are in an archive, the only path, as a tree.
	Unpack bool `json:"unpack,omitempty"`
	// SkipLinks leaves out links, devices and pipes of a folder or an archive, which
	// a content can't have; else the first of them is an error.
	SkipLinks bool `json:"skip_links,omitempty"`
	// Reference publishes the files where they are, without a copy of them. While
	// they are served they must stay as they are; a change is noticed.
	Reference bool `json:"reference,omitempty"`
	// Remote leaves what is at an address there: it is read once, and only the
	// manifest and the block lists are kept. Whoever gets it fetches the blocks
	// from the server, or from others that did.
	Remote bool `json:"remote,omitempty"`
}

// IsAddress reports whether one of an AddRequest's paths is an http or https
// address: it begins with either and "://".
func IsAddress(path string) bool {
	scheme, _, ok := strings.Cut(path, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// Progress tells how far a node is with reading files of its own.
type Progress struct {
	Phase   string         `json:"phase"` // unpack, read, verify
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
	New     int64          `json:"new_bytes"` // of these, in blocks not held before
	Files   int            `json:"files"`
	Chunks  int            `json:"chunks"`
	Signer  string         `json:"signer"` // name or peer id in the release's signature
	Rate    bandwidth.Rate `json:"rate_bits_per_second"`
	Elapsed Seconds        `json:"seconds"`
	// Unpacked is what kind of archive was unpacked: tar, tar.gz, tar.zst, tar.xz,
	// tar.bz2, zip or deb. Skipped counts the links, devices and pipes left out of
	// it, or of a folder, and SkippedList names the first of them.
	Unpacked    string   `json:"unpacked,omitempty"`
	Skipped     int      `json:"skipped,omitempty"`
	SkippedList []string `json:"skipped_list,omitempty"`
	// InPlace says that it is served from the user's files. It isn't, whatever was
	// asked for, if the store has a copy already.
	InPlace bool `json:"in_place,omitempty"`
	// Origin is the address that the manifest names as a source of it; Remote says
	// that no copy of it is here.
	Origin string `json:"origin,omitempty"`
	Remote bool   `json:"remote,omitempty"`
}

// A GetRequest asks to bring a content here and to write a copy for the user.
type GetRequest struct {
	Ref    string `json:"ref"`
	Output string `json:"output"` // absolute
	// Overwrite allows to replace what stands at Output. An older copy made by
	// a get is replaced, anything else is refused without it.
	Overwrite bool `json:"overwrite,omitempty"`
	// Move hands the only copy over: the content leaves the node, once other gets
	// of it and readers of the gateway are done. One that is pinned, as all that was
	// published here is, is refused, and so is a second move beside one. Link makes the
	// files at Output the node's own, under a second name: no room is taken, and
	// what is written to them spoils what the node has, which it then drops. One
	// of the two at most. Without, files share their bytes with the node's where
	// the file system can, and are copies where it can't.
	Move bool `json:"move,omitempty"`
	Link bool `json:"link,omitempty"`
	// Seeds are files and folders, absolute, that may have some of the content:
	// an older version, as it was installed. They are read, and never written.
	Seeds []string `json:"seeds,omitempty"`
	// Timeout ends the whole get: not-found if nobody who has it was found by
	// then, else timed-out. Zero: see FindTimeout.
	Timeout Seconds `json:"timeout_seconds,omitempty"`
}

// Phases of a get.
const (
	Finding  = "finding"  // nobody who has it is known yet
	Copying  = "copying"  // what is on this disk already is looked for, and copied
	Fetching = "fetching" // bytes arrive
	Waiting  = "waiting"  // Reason says for what; it goes on by itself
	Writing  = "writing"  // all verified, the user's copy is written
)

// ForOthers is the Reason of a get that is to move a content which other gets, or
// readers of the gateway, have open: they finish first.
const ForOthers = "others"

// ForDisk is the Reason of a get that waits until the disk of the node's store takes
// writes again: Detail says what is wrong with it, Next what to do.
const ForDisk = "disk"

// A FlowStatus tells how a content on its way to this node stands.
type FlowStatus struct {
	Content string         `json:"content,omitempty"`
	Name    string         `json:"name,omitempty"`
	Version string         `json:"version,omitempty"`
	Phase   string         `json:"phase"`
	Reason  string         `json:"reason,omitempty"` // of waiting: discovery.Reason, ForDisk or ForOthers
	Detail  string         `json:"detail,omitempty"` // of the reason, for people
	Next    string         `json:"next,omitempty"`   // what to do about it, if there is something
	Done    int64          `json:"done_bytes"`       // verified here, or written while Writing
	Total   int64          `json:"total_bytes"`      // 0 until the manifest is here
	Rate    bandwidth.Rate `json:"rate_bits_per_second"`
	From    ByLink         `json:"from_bytes"`  // fetched by this get
	Local   int64          `json:"local_bytes"` // copied by it from this disk
	Sources ByLink         `json:"sources"`     // who is asked now
	Givers  ByLink         `json:"givers"`      // how many gave something of it so far
	Wasted  Wasted         `json:"wasted"`
	Left    Seconds        `json:"left_seconds,omitempty"` // 0 while unknown
	Elapsed Seconds        `json:"seconds"`
}

// Wasted counts bytes that crossed a network for nothing.
type Wasted struct {
	Duplicate int64 `json:"duplicate_bytes"` // were here already
	Corrupt   int64 `json:"corrupt_bytes"`   // weren't what was asked for
	Unwanted  int64 `json:"unwanted_bytes"`  // came after they had been cancelled
}

// Plus returns the sum of two.
func (w Wasted) Plus(o Wasted) Wasted {
	return Wasted{w.Duplicate + o.Duplicate, w.Corrupt + o.Corrupt, w.Unwanted + o.Unwanted}
}

// Total returns the sum of all.
func (w Wasted) Total() int64 { return w.Duplicate + w.Corrupt + w.Unwanted }

// A GetResult tells what a get brought.
type GetResult struct {
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Output  string `json:"output"`
	Size    int64  `json:"size_bytes"`
	Files   int    `json:"files"`
	Here    int64  `json:"here_bytes"`  // held before this get began
	Local   int64  `json:"local_bytes"` // copied by it from other contents and seeds on this disk
	From    ByLink `json:"from_bytes"`  // fetched by this get
	Givers  ByLink `json:"givers"`      // how many peers, or servers, gave that
	Wasted  Wasted `json:"wasted"`
	// SeedsLeft is how much of the seeds wasn't looked at, as they are too many for
	// one get. What one looked at, others on this node needn't.
	SeedsLeft int64   `json:"seeds_left_bytes,omitempty"`
	Verified  bool    `json:"verified"`
	Moved     bool    `json:"moved,omitempty"` // the node has it no more
	Elapsed   Seconds `json:"seconds"`
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
	InPlace  bool      `json:"in_place,omitempty"` // stands on files of the user's
	Pinned   bool      `json:"pinned"`             // kept whatever else needs room
	Damaged  bool      `json:"damaged,omitempty"`  // went bad on disk in part, and is yet to be fetched again
	Added    time.Time `json:"added"`
	Used     time.Time `json:"used"` // last read, written or exported here
}

// A ContentDetail is a content with what is in it.
type ContentDetail struct {
	Content
	Labels   map[string]string `json:"labels,omitempty"`
	Releases Many[Release]     `json:"releases"`
	// Changed says which of the files that it stands on in place are not what they
	// were, and how.
	Changed []string `json:"changed,omitempty"`
	// Origins are the addresses that its manifest names, the first ShowFiles:
	// whoever gets it takes bytes from there too.
	Origins []string   `json:"origins,omitempty"`
	List    Many[File] `json:"list"` // the first ShowFiles files and folders
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
	Content  string `json:"content"`
	Name     string `json:"name,omitempty"`
	Version  string `json:"version,omitempty"`
	Checked  int64  `json:"checked_bytes"`
	Bad      int64  `json:"bad_bytes"`
	BadCount int    `json:"bad_blocks"`
	Complete bool   `json:"complete"` // all of the content is here and good
	// Changed counts the files that were added in place and are not what they
	// were: what is bad isn't the disk's doing then.
	Changed int     `json:"changed_files,omitempty"`
	Elapsed Seconds `json:"seconds"`
}

// An ExportRequest asks to write a content to a file.
type ExportRequest struct {
	Output    string `json:"output"` // absolute
	Overwrite bool   `json:"overwrite,omitempty"`
}

// An ExportResult tells what was written.
type ExportResult struct {
	Content  string  `json:"content"`
	Name     string  `json:"name,omitempty"`
	Version  string  `json:"version,omitempty"`
	Output   string  `json:"output"`
	Size     int64   `json:"size_bytes"` // of the content
	Written  int64   `json:"file_bytes"`
	Releases int     `json:"releases"`
	Elapsed  Seconds `json:"seconds"`
}

// An ImportRequest asks to take a content from a file that an export wrote.
type ImportRequest struct {
	Path string `json:"path"` // absolute
}

// An ImportResult tells what was taken.
type ImportResult struct {
	Content  string  `json:"content"`
	Name     string  `json:"name,omitempty"`
	Version  string  `json:"version,omitempty"`
	Size     int64   `json:"size_bytes"`
	Here     int64   `json:"here_bytes"` // of these, held before
	Files    int     `json:"files"`
	Releases int     `json:"releases"` // valid ones
	Signer   string  `json:"signer"`   // of the newest of them
	Elapsed  Seconds `json:"seconds"`
}
