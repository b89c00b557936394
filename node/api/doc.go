// Package api is how programs on the same machine speak with a node: HTTP and
// JSON over a unix socket (a named pipe on Windows). The command line, the
// console and scripts use nothing else.
//
// Node is what the server needs of a node; Server puts it on the socket, Client
// is the same interface at the other end. Who may open the socket may act for
// the node, so the socket belongs to the user that runs the node, and every
// route says who may call it: a route that says nothing is closed.
//
// # Paths
//
//	GET    /livez                      the process answers
//	GET    /readyz[?verbose]           200 once it can serve and fetch, else 503
//	GET    /metrics                    Prometheus text
//	GET    /v1/status                  Status
//	GET    /v1/contents                List[Content]
//	POST   /v1/contents                AddRequest: lines of Progress, then AddResult
//	GET    /v1/contents/{ref}          ContentDetail
//	DELETE /v1/contents/{ref}          Removed
//	PUT    /v1/contents/{ref}/pin      Content, kept from now on
//	DELETE /v1/contents/{ref}/pin      Content, evicted when room is needed
//	POST   /v1/contents/{ref}/verify   lines of Progress, then VerifyResult
//	GET    /v1/contents/{ref}/why[?chunk=N]  Why: where it came from, and the last choices
//	POST   /v1/contents/{ref}/export   ExportRequest: lines of Progress, then ExportResult
//	POST   /v1/imports                 ImportRequest: lines of Progress, then ImportResult
//	POST   /v1/flows                   GetRequest: lines of FlowStatus, then GetResult
//	GET    /v1/cache                   Cache
//	POST   /v1/cache/clean             CleanRequest: CleanResult
//	POST   /v1/cache/verify            lines of Progress, then VerifyAllResult
//	GET    /v1/peers                   List[Peer]
//	POST   /v1/peers/{who}/ping        Pong
//	GET    /v1/sites                   List[Site]: the sites that the node knows
//	POST   /v1/sitemap                 SignSitesRequest: SiteMap, signed
//	POST   /v1/sitemap/check           CheckSitesRequest: SiteMap
//	GET    /v1/site                    SiteDetail of the node's own site
//	GET    /v1/sites/{site}            SiteDetail
//	GET    /v1/refusals                List[Refusal]
//	POST   /v1/invites                 InviteRequest: Invitation
//	GET    /v1/members                 List[Member]
//	POST   /v1/members/{who}/revoke    RevokeRequest: Member
//	GET    /v1/decisions[?limit=N]     List[Decision]
//	GET    /v1/checks                  List[Check]
//	GET    /content/, /ipfs/           contents themselves, as node/gateway serves them
//
// A ref is a content id, NAME or NAME@VERSION; NAME alone is the newest release.
// A who is a peer id or the name of a member.
//
// # Answers
//
// Every answer is an object with "schema":1; fields are only ever added, so a
// reader ignores what it doesn't know. Requests are strict: a field that the
// node doesn't know is an error, because ignoring it would do something else
// than was asked. Field names end with their unit: _bytes and
// _bits_per_second are integers, seconds (or _seconds) is a decimal fraction,
// times are RFC 3339.
//
// What takes long is answered with JSON lines (application/x-ndjson):
//
//	{"type":"status","schema":1,...}    as work goes on, at most five a second
//	{"type":"summary","schema":1,...}   the last line of what was done
//	{"type":"error","schema":1,...}     or the last line of what was not: an Error
//
// An answer that ends with neither was cut off. Closing the connection cancels
// the work; what a get has verified by then stays, and the next one goes on
// from there.
//
// An error before the first line, and every other error, is problem JSON
// (RFC 9457) with an HTTP status: Problem.
package api
