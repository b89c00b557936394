package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

func (a *app) runCommand() *cobra.Command {
	var join, joinFile string
	c := &cobra.Command{
		Use:     "run",
		GroupID: groupStart,
		Short:   "Run a node until it is told to stop",
		Long: `Run a node on the data folder until SIGINT or SIGTERM.

A fresh folder becomes an enterprise of one, to which other machines can be
invited; with --join it joins the enterprise that invited it instead. A folder
that has joined already just runs, so the same command line serves for ever.

Every flag can come from the environment: --join-file from P2PNODE_JOIN_FILE,
and so on; and all but those for joining from a file: p2pnode config schema. Where it stands goes to stdout, the log to stderr.`,
		Example: `  p2pnode run
  p2pnode run --site berlin --listen /ip4/0.0.0.0/tcp/4740
  p2pnode run --join-file /etc/p2pnode/token`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.LocalNonPersistentFlags(), a.env, "join", "join-file"); err != nil {
				return err
			}
			s, err := a.resolve(cmd.Flags())
			if err != nil {
				return err
			}
			return a.run(cmd.Context(), s, join, joinFile)
		},
	}
	l := c.Flags()
	l.SortFlags = false
	l.StringVar(&join, "join", "", "`TOKEN` of an invite: join, unless the folder has done so")
	l.StringVar(&joinFile, "join-file", "", "`FILE` that holds the token, - for stdin")
	settingFlags(l)
	return c
}

// fromEnvironment sets those flags, if none of them was given, from P2PNODE_ and
// their names: they stand for each other.
func fromEnvironment(flags *pflag.FlagSet, env func(string) (string, bool), names ...string) error {
	if slices.ContainsFunc(names, flags.Changed) {
		return nil
	}
	for _, name := range names {
		variable := "P2PNODE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if value, ok := env(variable); ok && value != "" {
			if err := flags.Set(name, value); err != nil {
				return usageError{fmt.Errorf("%s: %w", variable, err)}
			}
		}
	}
	return nil
}

// run is the life of a node, from the command line's side.
func (a *app) run(ctx context.Context, s *settings, join, joinFile string) (err error) {
	started := time.Now()
	cfg := s.node
	joining := join != "" || joinFile != ""
	switch {
	case join != "" && joinFile != "":
		return usageError{errors.New("--join and --join-file: choose one")}
	}
	log, err := newLogger(a.err, s.logLevel, s.logFormat)
	if err != nil {
		return err
	}
	most := s.behave(log)
	if joining {
		t, err := a.token(join, joinFile)
		if err != nil {
			return err
		}
		if _, err := enrol(ctx, cfg.Data, t, trust.EnrolOptions{Name: cfg.Name}, log); err != nil {
			return err
		}
	}
	found, err := joined(cfg.Data, log)
	if err != nil {
		return err
	}
	n, err := node.New(cfg, log)
	if err != nil {
		return startError(err)
	}
	st, err := n.API().Status(ctx)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	if !a.json {
		a.banner(st, found == "")
	}

	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if most > 0 {
		beside.Go(func() { keepMemory(ctx, most) })
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
		if err := a.isReady(ctx, n, time.Since(started)); err != nil {
			cancel()
			return errors.Join(err, <-ended)
		}
	case err := <-ended:
		return startError(err)
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("the node failed: %w", err)
	}
	if !a.json {
		fmt.Fprintf(a.out, "stopped after %s\n", span(time.Since(started)))
	}
	return nil
}

// isReady says so: with --json by the node's status as a line.
func (a *app) isReady(ctx context.Context, n *node.Node, took time.Duration) error {
	if !a.json {
		_, err := fmt.Fprintf(a.out, "ready in %.2f s\n", took.Seconds())
		return err
	}
	st, err := n.API().Status(ctx)
	if err != nil {
		return err
	}
	line, err := api.MarshalLine(api.StatusLine, st)
	if err != nil {
		return err
	}
	_, err = a.out.Write(line)
	return err
}

// startError says what to do where a start failed for a known reason.
func startError(err error) error {
	var socket *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, trust.ErrInUse):
		return api.Errorf(api.Failed, "See it: p2pnode status", "another node runs on this folder: %w", err)
	case errors.As(err, &socket) && socket.Op == "listen":
		return api.Errorf(api.Failed, "End what has that address, or choose another: p2pnode run --listen MULTIADDR, --gateway HOST:PORT", "the node can't start: %w", err)
	}
	return fmt.Errorf("the node can't start: %w", err)
}

// banner says where the node stands, before it is ready.
func (a *app) banner(st api.Status, fresh bool) {
	w := a.out
	fmt.Fprintf(w, "p2pnode %s (%s/%s)  node %s  site %q\n", st.Version, runtime.GOOS, runtime.GOARCH, me(st), st.Site)
	fmt.Fprintf(w, "data    %s (cache limit %s, %s free)\n", st.Data, size(st.Store.Quota), size(st.Store.Free))
	fmt.Fprintf(w, "listen  %s\n", orNone(listening(st.Listen)))
	if path, err := api.SocketPath(st.Data); err == nil {
		fmt.Fprintf(w, "api     %s\n", api.URL(path))
	}
	if st.Gateway != "" {
		fmt.Fprintf(w, "gateway http://%s/content/ID\n", st.Gateway)
	}
	fmt.Fprintf(w, "peers   looking by %s\n", strings.Join(st.Looking, ", "))
	if fresh {
		fmt.Fprintf(w, "enterprise %s is new: this node is its only member, and issues its credentials\n", st.Enterprise)
		fmt.Fprintf(w, "        %s\n", a.next("Let another machine join: p2pnode invite --site "+st.Site))
	} else {
		fmt.Fprintf(w, "enterprise %s  roles %s\n", st.Enterprise, strings.Join(st.Roles, ", "))
	}
	warnings(w, a, st.Warnings)
}

// listening writes multiaddrs as an administrator of firewalls would: one word
// for each, with the wildcard left out.
func listening(addrs []string) string {
	seen := make(map[string]bool)
	var out []string
	for _, text := range addrs {
		m, err := ma.NewMultiaddr(text)
		if err != nil {
			continue
		}
		kind, port := "tcp", ""
		if _, err := m.ValueForProtocol(ma.P_QUIC_V1); err == nil {
			kind = "quic"
		}
		if p, err := m.ValueForProtocol(ma.P_TCP); err == nil {
			port = p
		} else if p, err := m.ValueForProtocol(ma.P_UDP); err == nil {
			port = p
		}
		host, err := m.ValueForProtocol(ma.P_IP4)
		if err != nil {
			if host, err = m.ValueForProtocol(ma.P_IP6); err == nil {
				host = "[" + host + "]"
			}
		}
		word := kind + " " + host + ":" + port
		if host == "0.0.0.0" || host == "[::]" {
			word = kind + "/" + port
		}
		if !seen[word] {
			seen[word] = true
			out = append(out, word)
		}
	}
	return strings.Join(out, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// me names the node of a status: its name and the ends of its id.
func me(st api.Status) string {
	if st.Name == "" {
		return shortPeer(st.Peer)
	}
	return st.Name + " " + shortPeer(st.Peer)
}

// shortPeer is enough of a peer id to know it by.
func shortPeer(id string) string {
	if len(id) < 20 {
		return id
	}
	return id[:8] + "…" + id[len(id)-5:]
}

func warnings(w io.Writer, a *app, list []api.Warning) {
	for _, x := range list {
		fmt.Fprintf(w, "warning %s: %s\n", x.Code, x.Message)
		if x.Next != "" {
			fmt.Fprintf(w, "        %s\n", a.next(x.Next))
		}
	}
}
