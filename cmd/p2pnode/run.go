package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// runFlags are the flags of run as they are typed.
type runFlags struct {
	site, name       string
	listen           []string
	bootstrap        []string
	mdns             string
	join, joinFile   string
	logLevel, logFmt string
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:     "run",
		GroupID: groupStart,
		Short:   "Run a node until it is told to stop",
		Long: `Run a node on the data folder until SIGINT or SIGTERM.

A fresh folder becomes an enterprise of one, to which other machines can be
invited; with --join it joins the enterprise that invited it instead. A folder
that has joined already just runs, so the same command line serves for ever.

Every flag can come from the environment: --join-file from P2PNODE_JOIN_FILE,
and so on. Where it stands goes to stdout, the log to stderr.`,
		Example: `  p2pnode run
  p2pnode run --site berlin --listen /ip4/0.0.0.0/tcp/4740
  p2pnode run --join-file /etc/p2pnode/token`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.LocalNonPersistentFlags(), a.env); err != nil {
				return err
			}
			return a.run(cmd.Context(), f)
		},
	}
	l := c.Flags()
	l.SortFlags = false
	l.StringVar(&f.site, "site", "", "the `SITE` of a node that starts an enterprise (default \"default\")")
	l.StringVar(&f.name, "name", "", "`NAME` that people call this node by (default the host's)")
	l.StringArrayVar(&f.listen, "listen", nil, "`MULTIADDR` to listen on, may be repeated (default port 4740, TCP and QUIC, all interfaces)")
	l.StringVar(&f.join, "join", "", "`TOKEN` of an invite: join, unless the folder has done so")
	l.StringVar(&f.joinFile, "join-file", "", "`FILE` that holds the token, - for stdin")
	l.StringArrayVar(&f.bootstrap, "bootstrap", nil, "`MULTIADDR` with /p2p/ID of a member to meet first, may be repeated")
	l.StringVar(&f.mdns, "mdns", "auto", "`WHERE` to look for neighbours by mDNS: auto, off, or interface names with commas")
	l.StringVar(&f.logLevel, "log-level", "info", "`LEVEL`: debug, info, warn or error")
	l.StringVar(&f.logFmt, "log-format", "auto", "`FORMAT`: text, json or auto, which is text on a terminal")
	return c
}

// fromEnvironment sets each flag that wasn't given from P2PNODE_ and its name.
// The two that give a token stand for each other.
func fromEnvironment(flags *pflag.FlagSet, env func(string) (string, bool)) (err error) {
	token := flags.Changed("join") || flags.Changed("join-file")
	flags.VisitAll(func(f *pflag.Flag) {
		if token && (f.Name == "join" || f.Name == "join-file") {
			return
		}
		name := "P2PNODE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := env(name)
		if !ok || value == "" || f.Changed || f.Name == "help" || err != nil {
			return
		}
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = strings.Fields(value)
		}
		for _, v := range values {
			if e := flags.Set(f.Name, v); e != nil {
				err = usageError{fmt.Errorf("%s: %w", name, e)}
			}
		}
	})
	return err
}

// config returns what a node is to be.
func (a *app) config(f runFlags) (node.Config, error) {
	c := node.Config{Data: a.data, Site: f.site, Name: f.name}
	if f.site != "" {
		if err := trust.CheckSite(f.site); err != nil {
			return c, usageError{fmt.Errorf("--site: %w", err)}
		}
	}
	if f.name != "" {
		if err := trust.CheckName(f.name); err != nil {
			return c, usageError{fmt.Errorf("--name: %w", err)}
		}
	}
	if f.mdns != "auto" {
		c.MDNS = strings.Split(f.mdns, ",")
	}
	var err error
	if c.Listen, err = addresses("--listen", f.listen); err != nil {
		return c, err
	}
	if c.Bootstrap, err = addresses("--bootstrap", f.bootstrap); err != nil {
		return c, err
	}
	for i, b := range c.Bootstrap {
		if _, err := b.ValueForProtocol(ma.P_P2P); err != nil {
			return c, usageError{fmt.Errorf("--bootstrap %s: want /p2p/ID at its end, as in /ip4/10.0.0.5/tcp/4740/p2p/ID", f.bootstrap[i])}
		}
	}
	return c, nil
}

func addresses(flag string, texts []string) ([]ma.Multiaddr, error) {
	var out []ma.Multiaddr
	for _, t := range texts {
		m, err := ma.NewMultiaddr(t)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s %s: %w (want a multiaddr, as /ip4/0.0.0.0/tcp/4740)", flag, t, err)}
		}
		out = append(out, m)
	}
	return out, nil
}

// run is the life of a node, from the command line's side.
func (a *app) run(ctx context.Context, f runFlags) (err error) {
	started := time.Now()
	cfg, err := a.config(f)
	if err != nil {
		return err
	}
	joining := f.join != "" || f.joinFile != ""
	switch {
	case f.join != "" && f.joinFile != "":
		return usageError{errors.New("--join and --join-file: choose one")}
	case joining && f.site != "":
		return usageError{errors.New("--site is of no use with --join: the invite says the site")}
	}
	log, err := newLogger(a.err, f.logLevel, f.logFmt)
	if err != nil {
		return err
	}
	if joining {
		t, err := a.token(f.join, f.joinFile)
		if err != nil {
			return err
		}
		if _, err := enrol(ctx, cfg.Data, t, trust.EnrolOptions{Name: f.name}); err != nil {
			return err
		}
	}
	found, err := joined(cfg.Data)
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

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
	var site *node.SiteError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, trust.ErrInUse):
		return api.Errorf(api.Failed, "See it: p2pnode status", "another node runs on this folder: %w", err)
	case errors.As(err, &site):
		return api.Errorf(api.Usage, "Leave --site away, or start another enterprise in another folder", "%w", err)
	}
	return fmt.Errorf("the node can't start: %w", err)
}

// banner says where the node stands, before it is ready.
func (a *app) banner(st api.Status, fresh bool) {
	w := a.out
	fmt.Fprintf(w, "p2pnode %s (%s/%s)  node %s  site %q\n", st.Version, runtime.GOOS, runtime.GOARCH, me(st), st.Site)
	fmt.Fprintf(w, "data    %s (%s free)\n", st.Data, size(st.Store.Free))
	fmt.Fprintf(w, "listen  %s\n", orNone(listening(st.Listen)))
	if path, err := api.SocketPath(st.Data); err == nil {
		fmt.Fprintf(w, "api     %s\n", api.URL(path))
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
