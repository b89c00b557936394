package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// Machines is Files by the tool of a node's machine: `testnet ToolName ...`, which
// is Tool.
type Machines struct{ data map[string]string } // data folders by node

// ToolName is the command that runs Tool.
const ToolName = "chaos-file"

// NewMachines asks every node where its data folder is.
func NewMachines(ctx context.Context, e box.Enterprise) (*Machines, error) {
	m := &Machines{data: map[string]string{}}
	for _, n := range e.Nodes() {
		a, err := n.Ask(ctx, "status", "--json")
		if err == nil {
			err = a.Err(0)
		}
		var st api.Status
		if err == nil {
			err = json.Unmarshal([]byte(a.Stdout), &st)
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s for its data folder: %w", n.Name(), err)
		}
		m.data[n.Name()] = st.Data
	}
	return m, nil
}

// toolPatience is how long a machine may be away on which a tool is to run: one of
// containers is while its node is down.
const toolPatience = 2 * time.Minute

// tool runs the tool on a machine, once that is there.
func (m *Machines) tool(ctx context.Context, n box.Node, args ...string) (string, error) {
	for end := time.Now().Add(toolPatience); ; {
		text, err := m.once(ctx, n, args...)
		if err == nil || time.Now().After(end) {
			return text, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(again):
		}
	}
}

func (m *Machines) once(ctx context.Context, n box.Node, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := n.Tool(ctx, append([]string{ToolName}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", n.Name(), strings.Join(args, " "), err, tail(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Sample implements Files.
func (m *Machines) Sample(ctx context.Context, n box.Node, path string, size int64, seed uint64) (string, error) {
	return m.tool(ctx, n, "make", path, strconv.FormatInt(size, 10), strconv.FormatUint(seed, 10))
}

// Digest implements Files.
func (m *Machines) Digest(ctx context.Context, n box.Node, path string) (string, error) {
	return m.tool(ctx, n, "digest", path)
}

// Remove implements Files.
func (m *Machines) Remove(ctx context.Context, n box.Node, path string) error {
	_, err := m.tool(ctx, n, "rm", path)
	return err
}

// Left implements Files.
func (m *Machines) Left(ctx context.Context, n box.Node) ([]string, error) {
	text, err := m.tool(ctx, n, "left", m.data[n.Name()], filepath.ToSlash(filepath.Dir(n.Path("x"))))
	if err != nil || text == "" {
		return nil, err
	}
	return strings.Split(text, "\n"), nil
}

// Tool makes and reads files where it runs.
func Tool(args []string, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("%s: want make, digest, rm or left, and a path", ToolName)
	}
	path := args[1]
	switch verb := args[0]; {
	case verb == "make" && len(args) == 4:
		size, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return fmt.Errorf("size: %w", err)
		}
		seed, err := strconv.ParseUint(args[3], 10, 64)
		if err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		if err := scenario.Sample(path, size, seed); err != nil {
			return err
		}
		return digest(path, out)
	case verb == "digest" && len(args) == 2:
		return digest(path, out)
	case verb == "rm" && len(args) == 2:
		return os.RemoveAll(path)
	case verb == "left" && len(args) == 3:
		return list(path, args[2], out)
	}
	return fmt.Errorf("%s %s: no such verb, or another number of arguments", ToolName, strings.Join(args, " "))
}

func digest(path string, out io.Writer) error {
	d, err := scenario.Digest(path)
	if err == nil {
		_, err = fmt.Fprintln(out, d)
	}
	return err
}

// known are the names in a node's data folder. A lock that is taken away can be
// held twice, so that of joining stays.
var known = []string{"api.sock", "store", "store.at", "trust", "dht", "peers", "joining.lock"}

// list writes what should not be in the data folder of a node that does nothing, nor
// where copies were written.
func list(data, copies string, out io.Writer) error {
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			fmt.Fprintln(out, filepath.Join(data, e.Name()))
		}
	}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !temporary(d.Name()):
			return nil
		case d.IsDir():
			fmt.Fprintln(out, path)
			return fs.SkipDir
		}
		fmt.Fprintln(out, path)
		return nil
	})
	if err != nil {
		return err
	}
	entries, err = os.ReadDir(copies)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if temporary(e.Name()) || strings.HasPrefix(e.Name(), copyPrefix) {
			fmt.Fprintln(out, filepath.Join(copies, e.Name()))
		}
	}
	return err
}

// copyPrefix begins the names of copies, which are taken away once they were hashed.
const copyPrefix = "chaos-"

// temporary reports whether a name is one of those that p2pnode gives to what isn't
// done: content/store/doc.go and its export.
func temporary(name string) bool {
	for _, prefix := range []string{".new-", ".old-", ".aside-", ".p2pnode-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, ".tmp")
}
