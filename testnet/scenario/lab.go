package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience bounds each wait for something that takes a second on a quiet
// machine: a node to be ready, to stop, to answer.
const patience = time.Minute

// A Lab is a folder with nodes that are ended together.
type Lab struct {
	Binary string
	Dir    string
	nodes  []*Node
}

// Build compiles p2pnode into dir and returns the binary's path. More variables
// for the environment of the build follow: "CGO_ENABLED=0" makes it static. It
// keeps to the flags of `go test`, or all of libp2p would be compiled once more.
func Build(ctx context.Context, dir string, env ...string) (string, error) {
	return build(ctx, dir, "p2pnode", "cmd/p2pnode", env)
}

// BuildTestnet compiles testnet, for programs that need its tools and aren't it.
func BuildTestnet(ctx context.Context, dir string, env ...string) (string, error) {
	return build(ctx, dir, "testnet", "testnet", env)
}

func build(ctx context.Context, dir, name, folder string, env []string) (string, error) {
	out := filepath.Join(dir, name)
	if os.PathSeparator == '\\' {
		out += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/p2pnode/p2pnode/"+folder)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	return out, nil
}

// New returns a Lab without nodes. Data folders, logs and outputs go below dir.
func New(binary, dir string) *Lab { return &Lab{Binary: binary, Dir: dir} }

// Close ends every node that still runs.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range l.nodes {
		errs = append(errs, n.Kill())
	}
	return errors.Join(errs...)
}

// Node adds a node with a data folder of its own, not yet running. It runs in
// space, or in this process's network if that is nil, with flags behind `run`.
func (l *Lab) Node(name string, space *Space, flags ...string) *Node {
	data := filepath.Join(l.Dir, name)
	n := &Node{Name: name, Data: data, Log: data + ".log", lab: l, space: space, flags: flags}
	l.nodes = append(l.nodes, n)
	return n
}

// Logs returns the end of what each node wrote, for a test that failed.
func (l *Lab) Logs() string {
	const most = 8 << 10 // bytes of each node
	var b strings.Builder
	for _, n := range l.nodes {
		text, err := os.ReadFile(n.Log)
		if err != nil {
			text = []byte(err.Error())
		}
		if len(text) > most {
			text = append([]byte("..."), text[len(text)-most:]...)
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", n.Name, text)
	}
	return b.String()
}
