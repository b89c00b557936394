// Package car writes a content into one file, and reads it back from whoever gave
// that file: for sites without a network, and for tools that know the format.
//
// The file is a CAR, version 1 (ipld.io/specs/transport/car/carv1): a header, then
// sections, each a CID and the bytes that it names. Any CAR tool can list and
// verify it. The order is fixed, so that a reader knows of every section what it
// has to be before it comes, and keeps nothing but the section at hand:
//
//	header    roots: the content id, and the bundle if there is one
//	bundle    {"v": 1, "content": CID, "releases": [CID...]}      dag-cbor
//	releases  signed envelopes, as the bundle lists them          raw
//	root      of the manifest: the content id's bytes             dag-cbor
//	segments  of the manifest, if it is split                     dag-cbor
//	chunks    of each its block list, then its blocks             dag-cbor, raw
//
// A chunk or block that a content has twice stands there twice (in the words of
// IPIP-412: order=dfs, dups=y). A file without bundle is the content alone: there
// is one such file for a content id, byte for byte. The bundle adds who published
// it, which whoever imports the file wants to know before anything else.
//
// A reader is strict. It takes CIDs of version 1 with SHA-256 only, each number in
// its shortest form, and nothing behind the last block; no claimed length makes it
// allocate more than has come. Errors wrap content.ErrFormat where the file isn't
// what it should be, also where it ends early, and content.ErrCorrupt where bytes
// don't match their CID. Who may sign a release, and what becomes of blocks, is
// left to others.
package car
