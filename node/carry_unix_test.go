//go:build unix

package node

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// A pipe has no end that an import could wait for, and a folder nothing to read.
func TestImportTakesFilesOnly(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.car")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, "/dev/zero"} {
		done := make(chan error, 1)
		go func() {
			_, err := hq.imports(path)
			done <- err
		}()
		select {
		case err := <-done:
			if e := api.From(err); e.Code != api.Usage || !strings.Contains(e.Message, path) || e.Next == "" {
				t.Errorf("%s: %v (%s), next %q", path, err, e.Code, e.Next)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: waits for somebody who writes", path)
		}
	}
}
