// Package content holds the words for what p2pnode moves: blocks, chunks, the
// manifest that lists them, and the release that gives a manifest a name.
//
// A file is cut into blocks of about 64 KiB where its own bytes say so, runs of
// blocks make chunks of about 1 MiB, and the manifest lists files and chunks.
// Everything is named by its SHA-256 digest, so whoever holds a content id can
// check every byte that a stranger gives it:
//
//	content id = CIDv1(dag-cbor, sha2-256) of the manifest's root
//	chunk      = CIDv1(dag-cbor, sha2-256) of the list of its blocks
//	block      = CIDv1(raw, sha2-256) of its bytes
//
// There is one hash, fixed by the format's version; nothing is negotiated.
//
// Manifests and block lists are CBOR in the deterministic form of DAG-CBOR (map
// keys by length, then bytes; no tags; no indefinite lengths), so that one
// content has one encoding and one id. Decoders are strict and refuse whatever
// an encoder here wouldn't have written, before they allocate for it.
//
// Cutting (content/chunker) and keeping (content/store) are left to the workers
// below; who may publish is left to node/trust.
package content
