// Package gateway gives contents to browsers, curl and IPFS tools over HTTP, while
// they still come.
//
// A Library (the node's) opens a content, which may be here whole, on its way, or
// elsewhere; the gateway turns it into answers and tells the library which chunk it
// waits for, so that what a player skips to comes next. Nothing but the manifest is
// fetched for who only asks about a file, or looks into a folder.
//
//	GET|HEAD /content/{id}[/path]              a file, or the list of a folder
//	GET|HEAD /content/{NAME[@VERSION]}[/path]  redirects to the id (307)
//	GET|HEAD /ipfs/{cid}                       a block or a CAR, for IPFS tools
//
// # /content/
//
// A file is answered with Range, HEAD, If-Range, If-None-Match and the like
// (RFC 9110). What an id names never changes, so its ETag is strong and it may be
// cached for ever. The first byte goes out as soon as its block is verified, and
// every block is hashed on its way out. If something fails before the first byte,
// the answer is an error; after it the connection is cut, and whoever asks for the
// rest (curl -C -, every browser) goes on from there. ?download asks a browser to
// save and not to show.
//
// A folder is a page without script, or JSON with Accept: application/json. The
// address of a folder ends with a slash; without it there is a redirect.
//
//	404  no such content, name or path       403  no publisher signed it
//	410  held, but its publisher may no longer publish
//	412  Cache-Control: only-if-cached, and not all of it is here
//	503  too much under way, or the node is stopping; with Retry-After
//	504  it didn't come in time; with Retry-After
//	507  no room for it
//
// # What a page may do
//
// Contents are not the gateway's pages: a publisher may have been careless. Nothing
// is sniffed, no script runs (Content-Security-Policy, with sandbox for whatever
// could have some), no page of another site may use an answer or make this node
// fetch (Sec-Fetch-Site), and there is no CORS. Serve checks the Host header, so
// that no name which an attacker points here (DNS rebinding) is answered.
//
// # /ipfs/
//
// The trustless gateway subset of the IPFS specification (trustless-gateway.md,
// 2026-03-05; the test quotes it): raw blocks, and CARs in the order of content/car.
// It gives what is here and looks for nothing: manifest roots and segments, chunks'
// block lists, and blocks by their CIDs; a CAR of a content that is on its way
// waits for the rest of it. Contents are not UnixFS, so paths lead nowhere.
//
// Finding, fetching, keeping and who may publish are left to the Library.
package gateway
