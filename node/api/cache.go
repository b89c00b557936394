package api

import "time"

// A Cache tells what contents take of the disk, and what may go.
type Cache struct {
	Dir         string        `json:"dir"` // where they are
	Contents    int           `json:"contents"`
	Used        int64         `json:"used_bytes"`
	Reserved    int64         `json:"reserved_bytes"` // for what is under way, yet to come
	Quota       int64         `json:"quota_bytes"`    // the disk's size if there is no other
	Floor       int64         `json:"floor_bytes"`    // of the disk, kept free whatever the quota says
	Free        int64         `json:"free_bytes"`     // of the disk, to this user
	Total       int64         `json:"total_bytes"`    // of the disk
	Reclaimable int64         `json:"reclaimable_bytes"`
	Pinned      int64         `json:"pinned_bytes"`
	Partial     int64         `json:"partial_bytes"`
	Damaged     int           `json:"damaged_contents"`
	Types       Many[TypeUse] `json:"types"` // the one that takes most first
	Evicted     Evicted       `json:"evicted"`
	Scrub       Scrub         `json:"scrub"`
}

// A TypeUse tells what contents of a type take.
type TypeUse struct {
	Type     string `json:"content_type"`
	Contents int    `json:"contents"`
	Used     int64  `json:"used_bytes"`
}

// Evicted tells what made room since the node was started.
type Evicted struct {
	Contents int64 `json:"contents"`
	Bytes    int64 `json:"bytes"`
}

// A Scrub tells how far reading everything again is. Counts are since the node was
// started.
type Scrub struct {
	Period  Seconds   `json:"period_seconds"` // in which everything is read
	Since   time.Time `json:"since"`          // everything held was read, or written, since then
	Bytes   int64     `json:"read_bytes"`
	Damaged int64     `json:"damaged_blocks"` // found by whatever read them
	Healed  int64     `json:"healed_blocks"`  // of these, here again
}

// A CleanRequest asks to evict the least valuable contents.
type CleanRequest struct {
	To     int64 `json:"to_bytes,omitempty"` // until they take no more than this; 0: the quota
	All    bool  `json:"all,omitempty"`      // all that may go
	DryRun bool  `json:"dry_run,omitempty"`  // only say what would go
}

// A CleanResult tells what was evicted, or would be.
type CleanResult struct {
	Contents Many[Removed] `json:"contents"` // the least valuable first
	Freed    int64         `json:"freed_bytes"`
	Short    int64         `json:"short_bytes,omitempty"` // of what was asked for, and may not go
	Why      string        `json:"why,omitempty"`         // may it not
	DryRun   bool          `json:"dry_run"`
}

// A VerifyAllResult tells what reading and hashing everything showed.
type VerifyAllResult struct {
	Contents int                `json:"contents"`
	Checked  int64              `json:"checked_bytes"`
	Bad      int64              `json:"bad_bytes"`
	BadCount int                `json:"bad_blocks"`
	Damaged  Many[VerifyResult] `json:"damaged"`
	Elapsed  Seconds            `json:"seconds"`
}
