package compose

import (
	"context"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
)

//go:embed image/Dockerfile image/.dockerignore all:image/empty
var imageFiles embed.FS

// folders for building begin with it, below the system's for temporary files.
const folder = "p2pnode-testnet-"

// build makes the image in dir, which has nothing of that yet, and returns the size of p2pnode.
func build(ctx context.Context, dir string) (int64, error) {
	files, err := fs.Sub(imageFiles, "image")
	if err != nil {
		return 0, err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return 0, fmt.Errorf("lay out the image: %w", err)
	}
	// What the go command leaves behind when it is killed goes with the folder.
	work := filepath.Join(dir, "go")
	if err := os.Mkdir(work, 0o755); err != nil {
		return 0, fmt.Errorf("lay out the image: %w", err)
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOTMPDIR=" + work}
	packages := []string{"github.com/p2pnode/p2pnode/cmd/p2pnode"}
	if self, err := static(); err != nil {
		packages = append(packages, testnet)
	} else if err := copyFile(filepath.Join(dir, "testnet"), self); err != nil {
		return 0, err
	}
	if _, err := run(ctx, env, append([]string{"go", "build", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}, packages...)...); err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(dir, "p2pnode"))
	if err != nil {
		return 0, err
	}
	// The image is two binaries and some words: the classic builder is everywhere,
	// and needs no plugin.
	_, err = run(ctx, []string{"DOCKER_BUILDKIT=0"}, "docker", "build", "-q", "-t", image, dir)
	return info.Size(), err
}

// testnet is the program of which the containers run a second copy.
const testnet = "github.com/p2pnode/p2pnode/testnet"

// static returns the path of this program if it is testnet, and runs in an image from
// scratch as it is: then it needn't be compiled again.
func static() (string, error) {
	built, ok := debug.ReadBuildInfo()
	if !ok || built.Path != testnet || runtime.GOOS != "linux" {
		return "", errors.New("this program is another one, or for another system")
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := elf.Open(self)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New("this program needs the system's libraries")
		}
	}
	return self, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
