// Package archive reads an archive as the tree of files that is in it.
//
// What an archive is, its first bytes say, not its name: tar, plain or packed by
// gzip, zstd, xz or bzip2; zip, and what is a zip by another name (jar, apk, nupkg,
// docx); a Debian package. Unpack goes through it once, hands each folder and file
// to a Target, and returns what a manifest says of them, in the manifest's order.
// Nothing inside is unpacked in turn.
//
// An archive may come from anywhere. So a name has to pass content.CheckPath; two
// entries of one name, or of names that differ in case only, are refused; links,
// devices and pipes are refused or, if asked for, left out and counted, and what
// would lie behind one is refused. Nothing is read that the archive did not
// declare, and nothing missing is made up: one that is cut short, has something
// behind its end or a wrong checksum is no archive. What it may unpack to is
// bounded by its own size (see limits) before a byte is written, and so is the
// memory that it takes.
//
// Where the files go, and what is made of them, is left to the caller.
package archive
