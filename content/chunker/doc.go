// Package chunker cuts files into blocks, and blocks into chunks, where their own
// bytes say so: who cuts the same bytes gets the same pieces, and a change moves
// the cuts near it only.
//
// Blocks are cut by FastCDC (Xia et al., "FastCDC: a Fast and Efficient
// Content-Defined Chunking Approach for Data Deduplication", USENIX ATC '16,
// section 3) with normalized chunking at level 1: from 16 KiB on, a cut is made
// where the gear hash of the last 64 bytes is below a limit, one place in 2^17
// up to normal and one in 2^15 beyond it, at 256 KiB at the latest. Two bytes are
// rolled in at a time, as in the authors' later version (Xia et al., IEEE TPDS
// 31(9), 2020, section 4.3), which halves the chain of dependent additions; the
// cuts are the same. The paper spreads the bits that it looks at, to widen the
// window; the 15 to 17 highest of 64 bits see 47 bytes or more as they are.
//
// A chunk ends after the block whose digest says so.
//
// All of it is frozen by the vectors in testdata: another cut would give
// unchanged files new names. The package decides and does nothing else; reading
// and hashing are left to the caller.
//
// Why 64 KiB, and what other sizes and levels would cost on real releases, is in
// testnet/bench/README.md, "Differences".
//
// # Why not a library
//
// Measured on one core of an EPYC with SHA-NI, 64 MiB of random bytes, sizes
// 16/64/256 KiB (go test -bench Cut ./content/chunker):
//
//	Cut                                         2.3 GB/s, mean block 64.6 KiB
//	PlakarKorp/go-cdc-chunkers 1.1.0 fastcdc    0.7 GB/s, mean block 73.5 KiB
//
// and publishing may spend half a second per GiB on cutting. Nor does its
// interface promise that the next release cuts the same.
//
// Where the limit changes was chosen by what an edit costs, with a mean of 64 KiB:
// on 100 MiB with 64 bytes changed at random, new blocks make 4.1 % of the file
// with level 2, 4.9 % with level 1, 6.7 % with none. With 1 MiB inserted and 64
// KiB overwritten in 64 places it is 12.0, 10.4 and 10.6 %: level 2 has its cuts in
// a narrow band, and two sequences of them take long to meet again. Level 1 is
// near the best of both.
package chunker
