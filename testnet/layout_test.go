package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The tree is the first page of documentation, and arrows point one way. These
// tables hold it to that. Change them on purpose, in the commit that needs it.

const (
	roots   = "bandwidth content discovery "
	workers = "bandwidth/meter content/archive content/car content/chunker content/store content/store/disk discovery/dht discovery/mdns discovery/rank discovery/site " +
		"node/api node/carry node/exchange node/flow node/gateway node/origin node/trust "
)

var tree = layout{
	module: "github.com/p2pnode/p2pnode",

	// What may lie at the top. Dot-folders and what git ignores are free.
	top: "LICENSE README.md bandwidth cmd content discovery go.mod go.sum node testnet",

	// What each package may import of ours. Roots hold words; workers know
	// words and no other worker; only node, cmd and testnet name workers; nothing
	// that ships knows testnet.
	imports: map[string]string{
		"bandwidth": "",
		"content":   "",
		"discovery": "bandwidth content",

		"bandwidth/meter":         roots,
		"content/archive":         "content",
		"content/car":             "content",
		"content/chunker":         "content",
		"content/store":           roots + "content/store/disk",
		"content/store/disk":      "",
		"content/store/storetest": roots + "content/store/disk",
		"discovery/dht":           roots,
		"discovery/mdns":          roots,
		"discovery/rank":          roots,
		"discovery/site":          roots,
		"node/api":                roots,
		"node/carry":              roots,
		"node/exchange":           roots,
		"node/flow":               roots,
		"node/gateway":            roots,
		"node/origin":             roots,
		"node/trust":              roots,

		"node":        roots + workers,
		"cmd/p2pnode": roots + workers + "node",

		"content/store/disk/disktest": "content/store/disk",

		"testnet/sim/deciders":     roots + "discovery/rank node/carry node/flow",
		"testnet/sim/deciders/cmd": "bandwidth testnet/plot testnet/sim/deciders",

		"testnet":                "bandwidth node/api testnet/box testnet/box/probe testnet/box/spaces testnet/chaos testnet/compose testnet/compose/inside testnet/foreground testnet/play testnet/scenario testnet/wan",
		"testnet/bench":          roots + workers + "node testnet/box testnet/box/spaces testnet/scenario testnet/wan",
		"testnet/box":            "node/api testnet/scenario testnet/wan",
		"testnet/box/boxtest":    "node/api testnet/box testnet/box/probe testnet/wan",
		"testnet/box/probe":      "",
		"testnet/box/spaces":     "bandwidth node/api testnet/box testnet/scenario testnet/wan",
		"testnet/chaos":          "bandwidth node/api testnet/box testnet/scenario testnet/wan",
		"testnet/compose":        "node/api testnet/box testnet/compose/inside testnet/scenario testnet/wan",
		"testnet/compose/inside": "node/api testnet/scenario testnet/wan",
		"testnet/play":           "node/api testnet/box testnet/plot testnet/scenario testnet/wan",
		"testnet/foreground":     "",
		"testnet/plot":           "",
		"testnet/scenario":       roots + workers + "node",
		"testnet/sim":            roots + workers + "node testnet/wan",
		"testnet/wan":            "bandwidth",
	},

	// What tests may import beside that.
	inTests: map[string]string{
		"testnet/compose":    "testnet/box/boxtest",
		"content/car":        "content/store/storetest",
		"content/store":      "content/store/storetest content/store/disk/disktest",
		"node":               "content/store/disk/disktest",
		"node/carry":         "discovery/rank discovery/site node/flow",
		"node/gateway":       "content/car content/store/storetest",
		"testnet/box/spaces": "bandwidth testnet/box/boxtest",
		"testnet/foreground": "testnet/wan",
		"testnet/play":       "testnet/box/spaces",
	},

	// Deciders take what is known plus the time and return what to do. They
	// replay from a text file because nothing else reaches them.
	pure: "content/chunker discovery/rank testnet/plot",

	// Bytes from a peer, a disk, an origin or a console arrive here: each of
	// these has a fuzz target (G45).
	foreign: map[string]string{
		"bandwidth/meter":    "probes from anyone on the network",
		"content":            "manifests, block lists and releases from peers",
		"content/archive":    "archives from anywhere",
		"content/car":        "a content that somebody brought in a file",
		"content/store":      "journals and names from a disk that crashed",
		"discovery/mdns":     "packets from anyone on the subnet",
		"discovery/site":     "frames from peers, maps that people write",
		"node":               "its book of peers, from a disk that crashed",
		"node/api":           "requests from anyone in the node's group",
		"node/carry":         "frames from members of the site",
		"node/exchange":      "frames from peers",
		"node/origin":        "headers of HTTP servers",
		"node/trust":         "tokens, credentials, envelopes, revocation lists",
		"node/gateway":       "requests from whatever runs on this machine",
		"testnet/play":       "scenarios that people write",
		"testnet/wan":        "settings that people type, packets of whatever is on the link",
		"testnet/foreground": "packets of calls and lines from whoever is on the test network",
	},

	// These import a decoder and yet read no foreign bytes.
	own: map[string]string{
		"cmd/p2pnode":            "answers of its own node, over a socket that only its group can serve",
		"node/flow":              "a hash, as the seed of an order",
		"testnet":                "output of the go command and of docker",
		"testnet/bench":          "output of processes it started",
		"testnet/box/boxtest":    "output of processes it started",
		"testnet/box/probe":      "it writes JSON and reads none",
		"testnet/chaos":          "output of processes it started",
		"testnet/compose":        "output of docker and of containers it started",
		"testnet/compose/inside": "requests of whoever is on this machine, as the node behind reads them; what a container of ours says of itself",
		"testnet/scenario":       "output of processes it started",
	},

	// A test may be skipped for these reasons only. CI has root and Docker, so
	// there "needs ..." is a failure: see tally.go.
	skips: []string{"needs root", "needs docker", "not on windows", "only on linux", "short mode"},

	// A file past this many lines usually hides a second thing. The exceptions
	// say why theirs does not.
	lines: 600,
	long:  map[string]string{},
}

func TestLayout(t *testing.T) {
	for _, problem := range tree.check("..") {
		t.Error(problem)
	}
}

// The checker is held to a tree that breaks every rule once: what it prints of
// it stands in want.txt.
func TestLayoutSeesWhatIsWrong(t *testing.T) {
	bad := layout{
		module:  "example.org/bad",
		top:     "go.mod words work node testnet",
		imports: map[string]string{"words": "", "work/a": "words", "work/b": "words", "node": "words work/a work/b", "gone": ""},
		inTests: map[string]string{"work/b": "testnet"},
		pure:    "work/a",
		foreign: map[string]string{"words": "frames"},
		own:     map[string]string{},
		skips:   []string{"needs root"},
		lines:   30,
		long:    map[string]string{"node/gone.go": "was long once"},
	}
	dir := filepath.Join("testdata", "layout")
	want, err := os.ReadFile(filepath.Join(dir, "want.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, problem := range bad.check(filepath.Join(dir, "tree")) {
		got += problem + "\n"
	}
	if got != string(want) {
		t.Errorf("problems found:\n%s\nwant:\n%s", got, want)
	}
}
