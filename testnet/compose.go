package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed compose/Dockerfile compose/docker-compose.yml compose/.dockerignore
var composeFiles embed.FS

// A project is a set of containers under one name, made by docker-compose
// (version 1.29 or 2) from a folder of its own.
type project struct {
	name string
	dir  string
	tool []string // the command: "docker compose" or "docker-compose"
	env  []string
}

// newProject lays out the build context in dir: everything but the binary.
func newProject(ctx context.Context, name, dir string) (*project, error) {
	tool, err := composeTool(ctx)
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(composeFiles, "compose")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return nil, fmt.Errorf("lay out build context: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		return nil, fmt.Errorf("lay out build context: %w", err)
	}
	// The image is two copies and some words: the classic builder is everywhere,
	// and needs no plugin.
	env := append(os.Environ(), "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0")
	return &project{name: name, dir: dir, tool: tool, env: env}, nil
}

// composeTool finds out how compose is called here.
func composeTool(ctx context.Context) ([]string, error) {
	if text, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("docker does not answer: %w\n%s", err, text)
	}
	var errs []error
	for _, tool := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		err := exec.CommandContext(ctx, tool[0], append(tool[1:], "version")...).Run()
		if err == nil {
			return tool, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", strings.Join(tool, " "), err))
	}
	return nil, fmt.Errorf("no compose here (Debian: apt-get install docker-compose): %w", errors.Join(errs...))
}

// set gives a variable to the compose file from now on.
func (p *project) set(name, value string) { p.env = append(p.env, name+"="+value) }

// compose runs a compose command on the project and returns what it wrote.
func (p *project) compose(ctx context.Context, args ...string) (string, error) {
	argv := append(p.tool[:len(p.tool):len(p.tool)], "-p", p.name, "-f", filepath.Join(p.dir, "docker-compose.yml"))
	return p.run(ctx, append(argv, args...)...)
}

// in runs p2pnode in the container of a service.
func (p *project) in(ctx context.Context, service string, args ...string) (string, error) {
	text, err := p.compose(ctx, append([]string{"exec", "-T", service, "/p2pnode"}, args...)...)
	return strings.TrimRight(text, "\r\n"), err
}

// container returns the id of a service's container.
func (p *project) container(ctx context.Context, service string) (string, error) {
	id, err := p.compose(ctx, "ps", "-q", service)
	if id = strings.TrimSpace(id); err == nil && id == "" {
		err = fmt.Errorf("%s has no container", service)
	}
	return id, err
}

// down takes away containers, networks, volumes and the image.
func (p *project) down(ctx context.Context) error {
	_, err := p.compose(ctx, "down", "-v", "--remove-orphans", "--rmi", "all", "--timeout", "5")
	return err
}

func (p *project) run(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
