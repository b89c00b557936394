// Package chunker cuts files into blocks, and blocks into chunks, where their own
// bytes say so: who cuts the same bytes gets the same pieces, and a change moves
// the cuts near it only.
//
// Blocks are cut by FastCDC (Xia et al., "FastCDC: a Fast and Efficient
// Content-Defined Chunking Approach for Data Deduplication", USENIX ATC '16,
// section 3) with normalized chunking at level 2: from 16 KiB on, a cut is made
// where the gear hash of the last 64 bytes is below a limit, one place in 2^18
// up to normal and one in 2^14 beyond it, at 256 KiB at the latest. Two bytes are
// rolled in at a time, as in the authors' later version (Xia et al., IEEE TPDS
// 31(9), 2020, section 4.3), which halves the chain of dependent additions; the
// cuts are the same. The paper spreads the bits that it looks at, to widen the
// window; the 14 to 18 highest of 64 bits see 46 bytes or more as they are.
//
// A chunk ends after the block whose digest says so.
//
// All of it is frozen by the vectors in testdata: another cut would give
// unchanged files new names. The package decides and does nothing else; reading
// and hashing are left to the caller.
//
// # Why not a library
//
// Measured on one core of an EPYC with SHA-NI, 64 MiB of random bytes, sizes
// 16/64/256 KiB (go test -bench Cut ./content/chunker):
//
//	Cut                                         2.3 GB/s, mean block 63.8 KiB
//	PlakarKorp/go-cdc-chunkers 1.1.0 fastcdc    0.7 GB/s, mean block 73.5 KiB
//
// and publishing may spend half a second per GiB on cutting. Nor does its
// interface promise that the next release cuts the same.
//
// Where the limit changes was chosen by what an edit costs: on 100 MiB with 64
// bytes changed at random, new blocks make 4.1 % of the file with level 2 and a
// mean of 64 KiB, 4.9 % with level 1 and the same mean, 6.7 % with none. Level 3
// gains another tenth of that and has its cuts in a narrower band, so that
// finding back into step after an insertion depends on fewer places.
package chunker
