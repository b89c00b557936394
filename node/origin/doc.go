// Package origin fetches parts of files from HTTP servers that a publisher named
// in a manifest, and refuses whatever isn't the part that was asked for.
//
// A publisher probes an address (Probe) and streams the whole from it (Open). A
// node that fetches asks for the ranges that hold the blocks it lacks (Range).
// Nothing of an answer is read before its headers say that it is the right part:
// 206, this range of so many bytes of a resource of the expected size, as it is
// (no Content-Encoding), of the same version (If-Range, RFC 9110 sections 13 and
// 14). Then exactly the expected bytes are read, and never more. That they are
// the right ones is for the caller to find out: it has their hashes.
//
//	answer                                        error
//	200 and text/html: login page of a network    ErrPage
//	200: the server knows no ranges               ErrNoRange
//	another range, size or length                 ErrLength
//	another ETag or Last-Modified, 412, 416       content.ErrChanged
//	404, 410                                      content.ErrNotFound
//	other status                                  ErrStatus (*StatusError)
//	redirect too long, from https to http         ErrRedirect
//	Content-Encoding                              ErrEncoded
//	certificate of somebody else, no TLS at all   ErrTLS
//	no answer, or less than Config.MinRate        ErrSlow
//	connection ends early                         ErrBroken
//	no connection                                 ErrUnreachable
//
// # Leaving a server alone
//
// After a failure the server, or only the address if that is what is wrong, rests
// for 30 to 60 s, after the next for twice as long, up to 20 min; for longer if
// the server said so (Retry-After, up to a day). Range refuses with ErrResting
// meanwhile. Thousands of endpoints see the same failure at the same time: the
// spread keeps them from coming back at the same time, too. A part that came
// whole ends it.
//
// # What a manifest can make a node do
//
// A manifest is signed by a publisher of the enterprise, and yet its addresses
// make every endpoint send requests (server-side request forgery). So:
//
//   - only GET, with a Range, no body, no cookies, no credentials of this user,
//     no Referer; nobody but the caller sees the answer, and it only counts if it
//     has the right hash
//   - http and https only, at each redirect too
//   - never to link-local addresses and others where clouds keep their machines'
//     secrets (169.254.169.254, fe80::/10, fd00:ec2::254), nor to multicast or
//     unspecified ones
//   - to this machine (127.0.0.0/8, ::1) only if the address itself says so, as
//     localhost does, or Config.Allow: no other server redirects there, and no
//     other name leads there
//   - Config.Allow lists the only servers that may be asked. An operator who knows
//     the origins lists them
//
// What a name turns out to be is looked at when the connection is made, for each
// connection: it is no use to give another address at the second question (DNS
// rebinding). Behind a proxy it is the proxy that resolves names: there addresses
// are checked as they are written, and a listed network holds no names. The proxy
// itself may be anywhere.
//
// Private addresses are allowed otherwise: an enterprise's file servers have them.
//
// Proxies are those of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) if it
// names one, else, on Windows, those of the user's or WinHTTP's settings, scripts
// (PAC) included, and on macOS those of the network settings, without scripts. The
// system's settings are read again every minute. They are never asked for
// localhost.
package origin
