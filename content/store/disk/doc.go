// Package disk is what the store asks of a file system, and how each system does
// it.
//
// Everything that the store does to its own folder goes through an FS, so that a
// test can put another one below it: one that loses power at any operation, is
// full, or can't read (disktest). OS is the real one.
//
// An FS promises what POSIX does and no more: bytes are durable once Sync of
// their file returned, a name is once SyncFolder of its folder did, and until then
// any of it may be there after a crash, or not, in any order. A rename is never
// half done.
//
// The user's own files, where a copy goes to and what is published, are not behind
// an FS. What file systems can do with them beside reading and writing is here
// too: clone (Clone), and keep out of the page cache (WriteOut, Forget).
package disk
