package content

import "time"

// A Release is a publisher's statement that a content is version Version of
// name Name. It is signed and carried in an envelope (node/trust); this is what
// the envelope holds.
type Release struct {
	Content ID
	Name    string // 1 to 128 of a-z A-Z 0-9 . _ - , starting with a letter or digit
	Version string // 1 to 64 of the same characters and '+' ; no order is read into it
	Type    string // content type, as in the manifest
	// Sequence orders the releases of a name. It never goes back: a node that
	// has seen n takes nothing below n for the newest, and two contents with
	// the same n are refused as a publisher's mistake or a theft of its key.
	Sequence  uint64
	Published time.Time // UTC, to the second
}
