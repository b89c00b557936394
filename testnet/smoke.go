package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

const (
	smokeTime = 5 * time.Minute // for all of it
	smokeSize = 32 << 20        // bytes of the sample
	healthy   = time.Minute     // for a container to become healthy
)

// smoke starts an enterprise in containers, spreads a file from the hub to two
// sites of two endpoints, and takes everything away again, whatever happened.
func smoke(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, smokeTime, fmt.Errorf("smoke: not done after %v", smokeTime))
	defer cancel()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp("", "p2pnode-smoke-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	p, err := newProject(ctx, "p2pnode-smoke", dir)
	if err != nil {
		return err
	}
	if _, err := scenario.Build(ctx, dir, "CGO_ENABLED=0"); err != nil {
		return err
	}
	// Another run may have been killed before it could clean up.
	if err := p.down(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if logs, lerr := p.compose(context.WithoutCancel(ctx), "logs", "--no-color", "--tail", "40"); lerr == nil {
				fmt.Fprintln(out, logs)
			}
		}
		// Also after an interrupt: leaving nothing behind comes first.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, p.down(clean))
		say("all taken away")
	}()
	if _, err := p.compose(ctx, "build", "hub"); err != nil {
		return err
	}
	say("built image p2pnode:testnet, using %s", strings.Join(p.tool, " "))
	return spread(ctx, p, say)
}

// spread brings the nodes up and a file to all of them.
func spread(ctx context.Context, p *project, say func(string, ...any)) error {
	if _, err := p.compose(ctx, "up", "-d", "hub"); err != nil {
		return err
	}
	if err := p.healthy(ctx, "hub"); err != nil {
		return err
	}
	say("hub is healthy: an enterprise of one")
	for _, site := range []string{"a", "b"} {
		token, err := p.in(ctx, "hub", "invite", "--site", "site-"+site, "--uses", "2")
		if err != nil {
			return err
		}
		p.set("P2PNODE_JOIN_"+strings.ToUpper(site), token)
	}
	endpoints := []string{"a1", "a2", "b1", "b2"}
	if _, err := p.compose(ctx, append([]string{"up", "-d", "--no-recreate"}, endpoints...)...); err != nil {
		return err
	}
	if err := p.healthy(ctx, endpoints...); err != nil {
		return err
	}
	say("%d endpoints at 2 sites joined and are healthy", len(endpoints))

	sample := filepath.Join(p.dir, "sample.bin")
	if err := scenario.Sample(sample, smokeSize, 1); err != nil {
		return err
	}
	want, err := scenario.Digest(sample)
	if err != nil {
		return err
	}
	id, err := p.publish(ctx, "hub", sample)
	if err != nil {
		return err
	}
	say("hub published %d MiB: %s", smokeSize>>20, id)
	for _, e := range endpoints {
		r, got, err := p.fetch(ctx, e, id)
		switch {
		case err != nil:
			return err
		case got != want:
			return fmt.Errorf("%s: the copy's sha256 is %s, want %s", e, got, want)
		}
		say("%s has it, sha256 right: from lan %d, wan %d bytes in %.2f s", e, r.From.LAN, r.From.WAN, time.Duration(r.Elapsed).Seconds())
	}
	return nil
}

// healthy waits until the containers of the services are.
func (p *project) healthy(ctx context.Context, services ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, healthy, fmt.Errorf("not healthy after %v", healthy))
	defer cancel()
	for _, s := range services {
		id, err := p.container(ctx, s)
		if err != nil {
			return err
		}
		for {
			state, err := p.run(ctx, "docker", "inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", id)
			state = strings.TrimSpace(state)
			if err != nil {
				return err
			}
			if state == "running healthy" {
				break
			}
			if !strings.HasPrefix(state, "running") {
				return fmt.Errorf("%s is %s", s, state)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is %s: %w", s, state, context.Cause(ctx))
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

// publish copies a file into a service's container and adds it there.
func (p *project) publish(ctx context.Context, service, file string) (id string, err error) {
	c, err := p.container(ctx, service)
	if err != nil {
		return "", err
	}
	if _, err := p.run(ctx, "docker", "cp", file, c+":/data/sample.bin"); err != nil {
		return "", err
	}
	return p.in(ctx, service, "add", "-q", "/data/sample.bin")
}

// fetch gets a content in a service's container, and returns what the node says
// of it and the copy's sha256.
func (p *project) fetch(ctx context.Context, service, id string) (r api.GetResult, digest string, err error) {
	c, err := p.container(ctx, service)
	if err != nil {
		return r, "", err
	}
	text, err := p.in(ctx, service, "get", id, "-o", "/data/copy.bin", "--json")
	if err != nil {
		return r, "", err
	}
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &r); err != nil {
		return r, "", fmt.Errorf("%s: get: %w\n%s", service, err, text)
	}
	copied := filepath.Join(p.dir, service+".bin")
	if _, err := p.run(ctx, "docker", "cp", c+":/data/copy.bin", copied); err != nil {
		return r, "", err
	}
	digest, err = scenario.Digest(copied)
	return r, digest, err
}
