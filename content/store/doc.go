// Package store keeps content on disk: verified block by block, while it
// arrives and after.
//
// A content has a folder of its own, with its real files in it, sparse while
// they are partial; a block is a range of a file. Bytes come in two ways: a
// publisher fills a Stage and commits it whole, a fetch begins a Content and
// gives it block lists (SetBlocks) and blocks (WriteBlock). A block counts only
// once its hash was right, and only what counts can be read (ReadBlock) or found
// by its chunk (Find) or, a while after its content became complete, by itself
// (FindBlock). What other contents hold is copied and not fetched (Reuse). Export
// gives the user a copy, which a Draft has begun while the content came.
//
//	<dir>/lock                  held while a process has the store open
//	<dir>/content/<id>/root     the manifest's root, and segments/<n> if it is split
//	                   files/   the files and folders, by their paths in the manifest
//	                   journal  partial: block lists learnt, blocks verified (journal.go)
//	                   blocks   complete: all block lists (lists.go)
//	                   releases signed envelopes (release.go)
//	                   references  where the files are, if at the user's (reference.go)
//	                   state    pin, last use, scrub (care.go)
//	<dir>/index/run-*           which blocks complete contents have (indexrun.go)
//	<dir>/content/.new-*        being made; swept at Open
//	<dir>/content/.old-*        being removed; swept at Open
//	<dir>/content/.aside-<id>   making way for one of the same id (place.go)
//
// # What survives
//
// A folder appears under its id by a rename, after everything in it was synced,
// and the parent folder is synced after that. So is every file that is replaced.
//
// While a content is partial, its block lists go to the journal before the
// blocks, unsynced, so that they outlive the process. Blocks go to their ranges;
// now and then (Run, Flush, Close) the files are synced, and only then are their
// blocks noted in the journal as verified. On Open after a crash, the blocks that
// the lists name and the journal doesn't are hashed: right ones count. So a kill
// loses nothing that WriteBlock took, and a power cut loses at most what was not
// synced. Nothing on disk is believed for being there.
//
// When the last block is synced, the lists move to the blocks file and the
// journal goes away: a folder with a blocks file and no journal is complete, and
// needs no memory per block. If damage is found later (Verify), a new journal
// takes over and the content is partial again. The journal, where there is one,
// is always right.
//
// The indexes are hints. That of chunks is made anew at each Open; that of blocks,
// which is on disk, as far as it is lost or damaged.
//
// After a failed sync the same file isn't synced again: the kernel marks pages clean
// that it could not write, so that would succeed and mean nothing. What isn't in
// the journal counts no more, what is can be read, and nothing is taken until Run
// has loaded the content anew, once its folder takes writes (mend.go): the journal
// is written as another file, and what hashes right is written again. A folder's
// entries are synced again: a file system that can't write those takes nothing.
//
// A journal that was not closed is written anew at Open too, and names that were
// found then are synced before they are built on. Who killed the process may have
// done so between a rename and its sync.
//
// The last byte of each file's magic word is its version. A folder with a file of a
// later version is left as it is (ErrNewer). README.md has what was tried.
//
// # What stays, what goes, and what is still right
//
// Whoever brings bytes reserves room first (reserve.go); what doesn't fit has others
// evicted, the least valuable first (evict.go), or is refused before anything is
// written. What shares bytes with what comes is copied before it goes, if the disk
// has room for both. The disk's floor holds whatever the quota says (room.go). What is pinned, and when
// a content was last used, is in its state file (care.go).
//
// What is read is hashed again unless that was done lately (fresh.go), and the
// scrub reads the rest in its period (scrub.go). What is wrong counts no more and
// is told, to be fetched again. What the store's files take of the system's memory
// has a budget (pages.go).
//
// What to fetch, whom from and who may publish is left to others.
package store
