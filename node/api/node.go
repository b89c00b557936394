package api

import "context"

// A Node is what the server needs of a node. Client implements it too.
//
// Errors are of type *Error, or become one by From. A report function may be
// called often and from any goroutine, doesn't block, and isn't called after
// the method returned; it may be nil.
type Node interface {
	// Status tells how the node stands. It is cheap: callers poll it.
	Status(ctx context.Context) (Status, error)
	Ready(ctx context.Context) (Readiness, error)
	// Doctor checks the node and what it stands on; it may take seconds.
	Doctor(ctx context.Context) ([]Check, error)

	// Add publishes files. It leaves nothing behind if it fails.
	Add(ctx context.Context, r AddRequest, report func(Progress)) (AddResult, error)
	// Get brings a content here and writes it to r.Output. If ctx ends, what
	// is verified stays in the store and the next Get goes on from there.
	Get(ctx context.Context, r GetRequest, report func(FlowStatus)) (GetResult, error)
	Contents(ctx context.Context) ([]Content, error)
	Content(ctx context.Context, ref string) (ContentDetail, error)
	Remove(ctx context.Context, ref string) (Removed, error)
	// Pin says whether a content is kept whatever else needs room.
	Pin(ctx context.Context, ref string, pinned bool) (Content, error)
	// Export writes a whole content and its releases to r.Output, one file that
	// Import takes on another node. Neither leaves anything behind if it fails.
	Export(ctx context.Context, ref string, r ExportRequest, report func(Progress)) (ExportResult, error)
	Import(ctx context.Context, r ImportRequest, report func(Progress)) (ImportResult, error)
	// Verify reads and hashes all that is held of a content. Bad blocks are a
	// result, not an error.
	Verify(ctx context.Context, ref string, report func(Progress)) (VerifyResult, error)

	// Cache tells what contents take of the disk.
	Cache(ctx context.Context) (Cache, error)
	// Clean evicts contents, or says what it would.
	Clean(ctx context.Context, r CleanRequest) (CleanResult, error)
	// VerifyAll is Verify for everything held.
	VerifyAll(ctx context.Context, report func(Progress)) (VerifyAllResult, error)

	Peers(ctx context.Context) ([]Peer, error)
	// Sites returns the sites that the node knows of, its own first.
	Sites(ctx context.Context) ([]Site, error)
	// Site returns a site, the node's own if id is empty.
	Site(ctx context.Context, id string) (SiteDetail, error)
	// SignSites signs a map of sites, as an operator; CheckSites tells what a signed one
	// says.
	SignSites(ctx context.Context, r SignSitesRequest) (SiteMap, error)
	CheckSites(ctx context.Context, r CheckSitesRequest) (SiteMap, error)
	// Refusals returns the last connections that were not admitted, newest
	// first.
	Refusals(ctx context.Context) ([]Refusal, error)
	Ping(ctx context.Context, who string) (Pong, error)
	// Decisions returns the last limit choices of sources, newest first.
	Decisions(ctx context.Context, limit int) ([]Decision, error)
	// Why explains the last choices about a content, or those about one of its
	// chunks, unless chunk is AllChunks.
	Why(ctx context.Context, ref string, chunk int) (Why, error)

	Invite(ctx context.Context, r InviteRequest) (Invitation, error)
	Members(ctx context.Context) ([]Member, error)
	Revoke(ctx context.Context, who string, r RevokeRequest) (Member, error)
}
