package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// run runs a command and returns what it wrote. It is interrupted when the context
// ends, and killed if it goes on, or when this process is.
func run(ctx context.Context, env []string, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := scenario.Command(ctx, nil, argv...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if env != nil {
		cmd.Env = append(os.Environ(), env...)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil { // what it said of that is of no use
			return "", fmt.Errorf("%s: %w", strings.Join(argv[:min(len(argv), 2)], " "), context.Cause(ctx))
		}
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(argv[:min(len(argv), 12)], " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, append([]string{"docker"}, args...)...)
}

// lines returns the words of a docker command's answer, one for each line.
func lines(ctx context.Context, args ...string) ([]string, error) {
	text, err := docker(ctx, args...)
	return strings.Fields(text), err
}

// answers is how long an engine may take to say who it is.
const answers = 30 * time.Second

// engine returns the engine's version, or what to do if there is none, or none that
// answers in time.
func engine(ctx context.Context, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the Docker engine doesn't answer within %v; what does `docker version` say?", limit))
	defer cancel()
	version, err := docker(ctx, "version", "--format", "{{.Server.Version}}")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("there is no docker command here; install Docker Engine 20.10 or newer (Debian: apt-get install docker.io docker-compose)")
	case ctx.Err() != nil:
		return "", err
	case err != nil:
		return "", fmt.Errorf("the Docker engine doesn't answer; is it running, and may you use it?\n%w", err)
	}
	return strings.TrimSpace(version), nil
}

// tool finds out how compose is called here, and its version.
func tool(ctx context.Context) (argv []string, version string, err error) {
	for _, argv := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if version, err := run(ctx, nil, append(argv, "version", "--short")...); err == nil {
			return argv, strings.TrimSpace(version), nil
		}
	}
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	return nil, "", errors.New("neither `docker compose` nor `docker-compose` works here (Debian: apt-get install docker-compose)")
}
