package box

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// ErrCannot is what a kind of Enterprise returns that can't do what was asked.
var ErrCannot = errors.New("this kind of testnet can't do that")

// An Enterprise is a Plan that runs. Its methods may be called by several
// goroutines.
type Enterprise interface {
	Plan() Plan

	// Nodes returns all nodes in the order of Plan.Places; Node the one of that
	// name, or nil; Link the link between a site and the WAN, or nil.
	Nodes() []Node
	Node(name string) Node
	Link(site string) Link

	// Logs returns the end of what every node wrote, for people.
	Logs() string

	// Close ends everything and takes it away. It may be called twice.
	Close() error
}

// A Node is one endpoint: a machine, the p2pnode on it, and its data folder. Of
// Start, Stop, Kill, Freeze, Thaw, Move, Unplug and Plug one is called at a time.
type Node interface {
	Name() string
	Site() string // where it stands now

	// Start runs the node and returns once it is ready. The first time, it is
	// invited and joins.
	Start(ctx context.Context) error
	Stop(ctx context.Context) error // SIGTERM, and it ends with 0
	Kill(ctx context.Context) error // SIGKILL
	Running() bool                  // started and not ended; a frozen one is

	// Freeze stops the process where it is (SIGSTOP); Thaw lets it go on.
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error

	// Unplug pulls the machine's cable; Plug puts it back. Move carries the machine
	// to another site, where it has another address, without ending the process.
	Unplug(ctx context.Context) error
	Plug(ctx context.Context) error
	Move(ctx context.Context, site string) error

	// Ask runs a verb of the command line against the node and waits for its end.
	// The context's end ends it.
	Ask(ctx context.Context, verb ...string) (scenario.Answer, error)

	// Client speaks with the node's API. Close it.
	Client() (*api.Client, error)

	// Usage returns what the running process takes.
	Usage(ctx context.Context) (Usage, error)

	// Path returns the path of a file in a folder of the machine that the node and
	// tools may read and write: as they see it, which need not be as we do.
	Path(name string) string

	// Tool returns a command that runs this program (`testnet ARGS`) on the
	// machine, in its network and with its files.
	Tool(ctx context.Context, args ...string) *exec.Cmd

	// Fill leaves so many bytes free on the disk of the data folder; Empty gives
	// the rest back. Only with Plan.Disk.
	Fill(ctx context.Context, free int64) error
	Empty(ctx context.Context) error
}

// A Link is between a site and the WAN.
type Link interface {
	Set(ctx context.Context, d Direction, s wan.Settings) error
	Settings(ctx context.Context, d Direction) (wan.Settings, error)
	Counts(ctx context.Context, d Direction) (wan.Counts, error)
}

// A Direction of a Link, as seen from its site.
type Direction = wan.Direction

// Directions.
const (
	Up   = wan.Forth // to the WAN
	Down = wan.Back  // from it
)

// Usage is what a process takes.
type Usage struct {
	CPU         time.Duration // so far, user and system
	RSS         int64         // bytes resident
	PeakRSS     int64         // bytes, the most so far; 0 if nobody counts it
	Goroutines  int
	Descriptors int
	Connections int // with peers, of any transport

	// Bytes of contents that it fetched since it started, by link class: what was
	// verified, and what crossed for nothing.
	Fetched, Wasted api.ByLink
}
