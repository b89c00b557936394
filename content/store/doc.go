// Package store keeps content on disk: verified block by block, while it
// arrives and after.
//
// A content has a folder of its own, with its real files in it, sparse while
// they are partial; a block is a range of a file. Bytes come in two ways: a
// publisher fills a Stage and commits it whole, a fetch begins a Content and
// gives it block lists (SetBlocks) and blocks (WriteBlock). A block counts only
// once its hash was right, and only what counts can be read (ReadBlock) or found
// by its chunk (Find). Export gives the user a copy.
//
//	<dir>/lock                  held while a process has the store open
//	<dir>/content/<id>/root     the manifest's root, and segments/<n> if it is split
//	                   files/   the files and folders, by their paths in the manifest
//	                   journal  partial: block lists learnt, blocks verified (journal.go)
//	                   blocks   complete: all block lists (lists.go)
//	                   releases signed envelopes (release.go)
//	<dir>/content/.new-*        being made; swept at Open
//	<dir>/content/.old-*        being removed; swept at Open
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
// After a failed sync a content is out of use until the store is opened again:
// the kernel marks pages clean that it could not write, so another sync of the
// same file would succeed and mean nothing.
//
// What to fetch, whom from and who may publish is left to others.
package store
