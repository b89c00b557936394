package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/storetest"
	"github.com/p2pnode/p2pnode/node/gateway"
)

// What the trustless gateway specification (ipfs/specs, trustless-gateway.md,
// 2026-03-05) and what it takes over of the path gateway's (path-gateway.md, of the
// same day) ask for, sentence by sentence. ROOT is a content, CHUNK one of its
// chunks, BLOCK one of its blocks, PART a content that isn't all here, NONE nothing.
var sentences = []struct {
	says    string
	ask     string
	headers string // "Name: value", separated by |
	status  int
	want    string // headers of the answer, separated by |; "-Name" must not be there
	body    string // what the answer holds: root, chunk, block, car, root.car, empty; "" is not looked at
}{
	// Response types.
	{"Below response types MUST be supported: application/vnd.ipld.raw. A single, verifiable raw block to be returned.",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.raw", 200, "Content-Type: application/vnd.ipld.raw", "root"},
	{"data is requested by CID, only supported path is /ipfs/{cid}",
		"GET /ipfs/CHUNK?format=raw", "", 200, "Content-Type: application/vnd.ipld.raw", "chunk"},
	{"Block responses: An opaque bytes matching the requested block CID. The Body hash MUST match the Multihash from the requested CID.",
		"GET /ipfs/BLOCK?format=raw", "", 200, "Content-Type: application/vnd.ipld.raw", "block"},
	{"Below response types SHOULD be supported: application/vnd.ipld.car",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car", 200, "Content-Type: application/vnd.ipld.car; version=1; order=dfs; dups=y", "car"},
	{"For block requests (?format=raw or Accept: application/vnd.ipld.raw), only GET /ipfs/{cid}[?{params}] is supported.",
		"GET /ipfs/ROOT/file.bin?format=raw", "", 400, "", ""},
	{"HEAD: Same as GET, but does not return any payload.",
		"HEAD /ipfs/ROOT?format=raw", "", 200, "Content-Type: application/vnd.ipld.raw|Etag: \"ROOT.raw\"", "empty"},
	{"HEAD: Same as GET, but does not return any payload.",
		"HEAD /ipfs/ROOT?format=car", "", 200, "Content-Type: application/vnd.ipld.car; version=1; order=dfs; dups=y|Etag: \"ROOT.car\"", "empty"},

	// Requests.
	{"A Gateway SHOULD return HTTP 400 Bad Request when running in strict trustless mode (no deserialized responses) and Accept header is missing.",
		"GET /ipfs/ROOT", "", 400, "", ""},
	{"... and a client that takes anything has not said more.",
		"GET /ipfs/ROOT", "Accept: */*", 400, "", ""},
	{"No UnixFS/IPLD deserialization.",
		"GET /ipfs/ROOT", "Accept: text/html", 406, "", ""},
	{"No UnixFS/IPLD deserialization.",
		"GET /ipfs/ROOT?format=dag-json", "", 406, "", ""},
	{"When both Accept HTTP header and format query parameter are present, format SHOULD take precedence.",
		"GET /ipfs/ROOT?format=raw", "Accept: application/vnd.ipld.car", 200, "Content-Type: application/vnd.ipld.raw", "root"},
	{"When both Accept HTTP header and format query parameter are present, format SHOULD take precedence.",
		"GET /ipfs/ROOT?format=raw", "Accept: text/html,*/*;q=0.8", 200, "Content-Type: application/vnd.ipld.raw", "root"},
	{"content type negotiation based on section 12.5.1 of rfc9110",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car;q=0.5, application/vnd.ipld.raw", 200, "Content-Type: application/vnd.ipld.raw", "root"},
	{"When received [only-if-cached], gateway SHOULD return HTTP 412 if the root block is not immediately available.",
		"GET /ipfs/NONE?format=raw", "Cache-Control: only-if-cached", 412, "-Etag", "empty"},
	{"When received [only-if-cached], gateway SHOULD return HTTP 412 if the root block is not immediately available.",
		"HEAD /ipfs/NONE?format=car", "Cache-Control: only-if-cached", 412, "-Etag", "empty"},
	{"only-if-cached: request data only if the gateway already has the data and can return it immediately",
		"GET /ipfs/PART?format=car", "Cache-Control: only-if-cached", 412, "-Etag", "empty"},
	{"a 412 (Precondition Failed) HTTP status code should be returned by the gateway without any payload or specific HTTP headers.",
		"GET /ipfs/NONE?format=raw", "Cache-Control: only-if-cached", 412, "-X-Ipfs-Path|-Content-Location|-Content-Disposition", "empty"},
	{"only-if-cached: request data only if the gateway already has the data and can return it immediately",
		"GET /ipfs/ROOT?format=car", "Cache-Control: only-if-cached", 200, "", "car"},
	{"IPNS: Produces 400 Bad Request if the content is not under the IPNS namespace.",
		"GET /ipfs/ROOT?format=ipns-record", "", 400, "", ""},
	{"dag-scope: block - Only the root block at the end of the path is returned",
		"GET /ipfs/ROOT?format=car&dag-scope=block", "", 200, "Etag: \"block.ROOT.car\"", "root.car"},
	{"dag-scope: For all queries that reference non-UnixFS data, entity is equivalent to block",
		"GET /ipfs/ROOT?format=car&dag-scope=entity", "", 200, "Etag: \"entity.ROOT.car\"", "root.car"},
	{"dag-scope: all - Transmit the entire contiguous DAG. When present, returned Etag must include unique prefix based on the passed scope type.",
		"GET /ipfs/ROOT?format=car&dag-scope=all", "", 200, "Etag: \"all.ROOT.car\"", "car"},
	{"dag-scope=(block|entity|all)",
		"GET /ipfs/ROOT?format=car&dag-scope=most", "", 400, "", ""},
	{"entity-bytes: cannot be interpreted as a continuous array of bytes: the parameter MUST be ignored, and the request is equivalent to dag-scope=entity. A Gateway MUST augment the returned Etag.",
		"GET /ipfs/ROOT?format=car&entity-bytes=0:*", "", 200, "Etag: \"entity.ROOT.car.0:end\"", "root.car"},
	{"entity-bytes: Negative numbers can be used for referring to bytes from the end of a file",
		"GET /ipfs/ROOT?format=car&entity-bytes=-1024:*", "", 200, "", "root.car"},
	{"entity-bytes=from:to",
		"GET /ipfs/ROOT?format=car&entity-bytes=5", "", 400, "", ""},
	{"car-version: Serves same purpose as CAR version content type parameter. In case both are present in the request, the URL query parameter SHOULD take precedence",
		"GET /ipfs/ROOT?format=car&car-version=1", "Accept: application/vnd.ipld.car;version=2", 200, "", "car"},
	{"A Gateway MAY choose to implement only some parameters and return HTTP 400 Bad Request or 406 Not Acceptable when a client requested a response with unsupported content type variant.",
		"GET /ipfs/ROOT?format=car&car-version=2", "", 406, "", ""},
	{"... unsupported content type variant.",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car; dups=n", 406, "", ""},
	{"... unsupported content type variant.",
		"GET /ipfs/ROOT?format=car&car-order=bfs", "", 406, "", ""},
	{"Clients MAY indicate their preferred block order by sending an Accept header: application/vnd.ipld.car; version=1; order=dfs; dups=y",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car; version=1; order=dfs; dups=y", 200, "", "car"},

	{"In case both are present in the request, a matching Content-Location SHOULD be returned with the response.",
		"GET /ipfs/ROOT?format=car&car-version=1", "Accept: application/vnd.ipld.car;version=2", 200, "Content-Location: /ipfs/ROOT?car-version=1&format=car", "car"},
	{"Accept: application/vnd.ipld.car;order=foo, application/vnd.ipld.car;order=dfs;dups=y;q=0.5 - if this isn't available it would accept order=dfs",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car;order=foo, application/vnd.ipld.car;order=dfs;dups=y;q=0.5", 200, "Content-Location: /ipfs/ROOT?car-dups=y&car-order=dfs&format=car", "car"},
	{"... or a raw block, if that was accepted too",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.car;dups=n, application/vnd.ipld.raw;q=0.5", 200, "Content-Type: application/vnd.ipld.raw", "root"},
	{"... and with format, of that one only",
		"GET /ipfs/ROOT?format=car", "Accept: application/vnd.ipld.car;dups=n, application/vnd.ipld.raw;q=0.5", 406, "", ""},

	// Status codes.
	{"A Trustless Gateway MUST return 404 Not Found when the root block is not available. This applies to HEAD requests for any CID",
		"HEAD /ipfs/NONE?format=raw", "", 404, "-Etag", "empty"},
	{"... GET requests for raw blocks",
		"GET /ipfs/NONE?format=raw", "", 404, "-Etag|Cache-Control: no-store", ""},
	{"... GET requests for CAR streams when the root block is missing",
		"GET /ipfs/NONE?format=car", "", 404, "-Etag", ""},
	{"... for any CID: of another hash",
		"GET /ipfs/OTHER?format=raw", "", 404, "", ""},
	{"... for any CID: of version 0",
		"GET /ipfs/QmfM2r8seH2GiRaC4esTjeraXEachRt8ZsSeGaWTPLyMoG?format=raw", "", 404, "", ""},
	{"400: this can be used when the CID is malformed",
		"GET /ipfs/bafybad?format=raw", "", 400, "", ""},
	{"404: traversal of the requested content path was not possible",
		"GET /ipfs/ROOT/a/b?format=car", "", 404, "", ""},
	{"Requests to these paths with Service-Worker: script MUST be denied by returning HTTP 400 Bad Request error.",
		"GET /ipfs/ROOT?format=raw", "Service-Worker: script", 400, "", ""},

	// Response headers.
	{"Content-Type MUST be returned. If a CAR stream was requested: the response MUST include the parameter specifying CAR version.",
		"GET /ipfs/CHUNK?format=car", "", 200, "Content-Type: application/vnd.ipld.car; version=1; order=dfs; dups=y", ""},
	{"Content-Disposition MUST be returned and set to attachment. Raw block responses should use filename=\"<cid>.bin\"",
		"GET /ipfs/BLOCK?format=raw", "", 200, "Content-Disposition: attachment; filename=\"BLOCK.bin\"", ""},
	{"CAR responses should use filename=\"<cid>.car\"",
		"GET /ipfs/ROOT?format=car", "", 200, "Content-Disposition: attachment; filename=\"ROOT.car\"", ""},
	{"filename: When set, gateway will include it in Content-Disposition header",
		"GET /ipfs/BLOCK?format=raw&filename=part.bin", "", 200, "Content-Disposition: attachment; filename=\"part.bin\"", ""},
	{"To illustrate, ?filename=testтест.pdf should produce: ASCII representation with non-ASCII characters replaced with _, UTF-8 in Percent Encoding",
		"GET /ipfs/ROOT?format=car&filename=test%D1%82%D0%B5%D1%81%D1%82.car", "", 200, "Content-Disposition: attachment; filename=\"test____.car\"; filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.car", ""},
	{"(nothing but a name gets in)",
		"GET /ipfs/ROOT?format=raw&filename=../a%22%0D%0Ab%5C", "", 200, "Content-Disposition: attachment; filename=\".._a___b_\"; filename*=UTF-8''.._a%22__b%5C", ""},
	{"Content-Location SHOULD be returned when Trustless Gateway supports more than a single response format and the format query parameter is missing",
		"GET /ipfs/ROOT", "Accept: application/vnd.ipld.raw", 200, "Content-Location: /ipfs/ROOT?format=raw", ""},
	{"... or does not match well-known format from Accept header",
		"GET /ipfs/ROOT?format=raw", "Accept: application/vnd.ipld.car", 200, "Content-Location: /ipfs/ROOT?format=raw", ""},
	{"(and not when the address says it)",
		"GET /ipfs/ROOT?format=raw", "", 200, "-Content-Location", ""},
	{"Etag MUST be returned and follow the recommendations: If a custom format was requested, the returned etag should be modified to include it.",
		"GET /ipfs/BLOCK?format=raw", "", 200, "Etag: \"BLOCK.raw\"", ""},
	{"The Gateway MUST compare Etag values sent in If-None-Match. Positive match MUST return HTTP status code 304, without any payload.",
		"GET /ipfs/BLOCK?format=raw", "If-None-Match: \"BLOCK.raw\"", 304, "", "empty"},
	{"The Gateway MUST compare Etag values sent in If-None-Match. Positive match MUST return HTTP status code 304, without any payload.",
		"GET /ipfs/ROOT?format=car", "If-None-Match: \"x\", W/\"ROOT.car\"", 304, "", "empty"},
	{"Cache-Control: public, max-age=29030400, immutable MUST be returned for every immutable resource under /ipfs/ namespace.",
		"GET /ipfs/ROOT?format=raw", "", 200, "Cache-Control: public, max-age=29030400, immutable", ""},
	{"Cache-Control: public, max-age=29030400, immutable MUST be returned for every immutable resource under /ipfs/ namespace.",
		"GET /ipfs/ROOT?format=car", "", 200, "Cache-Control: public, max-age=29030400, immutable", ""},
	{"X-Content-Type-Options: nosniff should be returned with application/vnd.ipld.car and application/vnd.ipld.raw responses",
		"GET /ipfs/ROOT?format=car", "", 200, "X-Content-Type-Options: nosniff", ""},
	{"X-Ipfs-Path: Implementations MAY omit it with trustless response types",
		"GET /ipfs/ROOT?format=raw", "", 200, "X-Ipfs-Path: /ipfs/ROOT", ""},
	{"Gateways SHOULD support single range requests [of raw blocks].",
		"GET /ipfs/BLOCK?format=raw", "Range: bytes=0-9", 206, "", ""},
	{"(what differs by Accept says so to caches)",
		"GET /ipfs/ROOT?format=raw", "", 200, "Vary: Accept", ""},

	// Probes.
	{"GET /ipfs/bafkqaaa: For block requests, when supported, it MUST return 200 OK and an empty body.",
		"GET /ipfs/bafkqaaa?format=raw", "", 200, "Content-Type: application/vnd.ipld.raw", "empty"},
	{"For CAR requests, when supported, it MUST return 200 OK and a valid CAR with CAR Header roots set to bafkqaaa.",
		"GET /ipfs/bafkqaaa", "Accept: application/vnd.ipld.car", 200, "Content-Type: application/vnd.ipld.car; version=1; order=dfs; dups=y", "probe"},
	{"HEAD /ipfs/bafkqaaa: If this endpoint is enabled, the gateway MUST support HEAD requests.",
		"HEAD /ipfs/bafkqaaa?format=raw", "", 200, "", "empty"},
	{"(IPNS is not served)",
		"GET /ipns/bafkqaaa?format=raw", "", 404, "", ""},
}

func TestTrustlessGatewaySaysWhatTheSpecificationAsks(t *testing.T) {
	s, part := storetest.File(t, 1, 100_000, storetest.Small), storetest.File(t, 2, 100_000, storetest.Small)
	lib := newShelf(s, part)
	lib.away(part.ID, 1)
	g := newGateway(lib)
	other, err := cid.V1Builder{Codec: cid.Raw, MhType: mh.SHA2_512}.Sum(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("OTHER", other.String(), "ROOT", s.ID.String(), "PART", part.ID.String(), "NONE", content.Sum([]byte("none")).String(),
		"CHUNK", s.Manifest.Chunks[1].Hash.String(), "BLOCK", s.Blocks[1][0].Hash.Raw().String())
	bodies := map[string]string{
		"root": string(s.Root), "chunk": string(s.Nodes[1]), "block": string(s.Block(1, 0)), "empty": "",
		"car": carOf(t, lib, s), "root.car": single(t, lib, content.Hash(s.ID).Node(), s.Root),
		"probe": "\x1b\xa2eroots\x81\xd8*E\x00\x01U\x00\x00gversion\x01",
	}
	for _, x := range sentences {
		method, path, _ := strings.Cut(names.Replace(x.ask), " ")
		var headers []string
		if x.headers != "" {
			headers = strings.Split(names.Replace(x.headers), "|")
		}
		res := ask(t, g, method, path, headers...)
		got := body(t, res)
		problem := func(format string, args ...any) {
			t.Errorf("%s\n\t%s [%s]\n\t%s", x.says, x.ask, x.headers, fmt.Sprintf(format, args...))
		}
		if res.StatusCode != x.status {
			problem("status %d, want %d: %.200q", res.StatusCode, x.status, got)
			continue
		}
		if want, ok := bodies[x.body]; x.body != "" && (!ok || got != want) {
			problem("%d bytes that are not %s", len(got), x.body)
		}
		for h := range strings.SplitSeq(names.Replace(x.want), "|") {
			if name, absent := strings.CutPrefix(h, "-"); absent && res.Header.Get(name) != "" {
				problem("has %s: %s", name, res.Header.Get(name))
			} else if name, value, ok := strings.Cut(h, ": "); ok && res.Header.Get(name) != value {
				problem("%s is %q, want %q", name, res.Header.Get(name), value)
			}
		}
		// Errors say what to do, and nothing keeps them.
		if res.StatusCode >= 400 && (method == "GET" && x.body != "empty" && !strings.HasPrefix(got, "p2pnode: ") || res.Header.Get("Cache-Control") != "no-store") {
			problem("an error of headers %v: %q", res.Header, got)
		}
	}
	if lib.open != 0 {
		t.Errorf("%d contents are open", lib.open)
	}
}

func carOf(t *testing.T, lib *shelf, s *storetest.Sample) string {
	t.Helper()
	var out bytes.Buffer
	if err := (&opened{lib, lib.items[s.ID]}).WriteCAR(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func single(t *testing.T, lib *shelf, root cid.Cid, data []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := lib.WriteCAR(&out, root, data); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Every block of a content can be had by its CID, and what the library gives
// instead of a block isn't passed on.
func TestEveryBlockIsServedAndVerified(t *testing.T) {
	s := storetest.Tree(t, 1)
	lib := newShelf(s)
	g := newGateway(lib)
	for _, ref := range s.Refs() {
		c := s.Blocks[ref.Chunk][ref.Block].Hash.Raw()
		if res := ask(t, g, "GET", "/ipfs/"+c.String()+"?format=raw"); res.StatusCode != 200 || body(t, res) != string(s.Block(ref.Chunk, ref.Block)) {
			t.Fatalf("block %v: %s", ref, res.Status)
		}
	}
	bad := gateway.New(liar{lib}, gateway.Config{}, nopLog)
	if res := ask(t, bad, "GET", "/ipfs/"+s.ID.String()+"?format=raw"); res.StatusCode != 500 {
		t.Errorf("wrong bytes: %s", res.Status)
	}
}

// A CAR of a content that still comes waits for the rest; if it doesn't come the
// stream is ended, and can't be taken for whole.
func TestCARWaitsForWhatComes(t *testing.T) {
	for _, fails := range []error{nil, content.ErrNoSpace} {
		synctest.Test(t, func(t *testing.T) {
			s := storetest.File(t, 1, 3<<20, storetest.Large)
			lib := newShelf(s)
			last := len(s.Nodes) - 1
			lib.away(s.ID, last)
			c := newClient(t, newGateway(lib))
			r := <-c.get("/ipfs/"+s.ID.String()+"?format=car", "")
			c.ended.Go(func() {
				synctest.Wait()
				lib.arrive(s.ID, fails, last)
			})
			file, err := io.ReadAll(r.Body)
			switch {
			case fails == nil && (err != nil || string(file) != carOf(t, lib, s)):
				t.Errorf("%d bytes, %v", len(file), err)
			case fails != nil && (err == nil || r.StatusCode != 200):
				t.Errorf("a failed stream ended like a whole one: %s, %v", r.Status, err)
			}
			c.close()
		})
	}
}
