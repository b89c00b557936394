// Package disktest is a file system in memory that loses power, fails, and fills
// up when a test says so.
//
// FS has what a program sees, and remembers beside it what a disk would have. What
// was written to a file since it was last synced is a list of effects, and so are
// the names made, renamed and removed in folders. Watch is given an Image before
// every operation that changes something; Image.Crash makes of it a file system as
// it may be found when power comes back: what was synced, and of the effects some,
// all or none, writes torn at sectors. Fault lets any operation fail.
//
// Two kinds of systems are modelled:
//
//	POSIX    Effects reach the disk in any order. Names are durable once SyncFolder
//	         of their folder returned, bytes once Sync of their file did. A rename
//	         is never half done.
//	Windows  NTFS: names are journalled, so that what survives of them is all up to
//	         some point in time. Sync of a file, and a rename that is written
//	         through as package disk's are, bring the journal to the disk as it is
//	         then; SyncFolder does nothing. Bytes that were not synced may be zeros.
//	         An open file, and a folder with one, can't be renamed or removed.
//
// After Sync of a file failed, what was written to it before may be lost in a
// crash even if a later Sync succeeds: kernels mark the pages clean (Rebello et
// al., Can Applications Recover from fsync Failures?, ATC'20). What is read stays
// the new (ext4, XFS), or in part becomes the old again (Btrfs): see DropUnsynced.
// Names have no such state: a file system that can't write its journal takes no
// more changes at all.
//
// It knows no links, modes or owners.
package disktest
