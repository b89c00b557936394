//go:build docker && linux

package compose

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/boxtest"
)

// Who asks for the tag docker has to have it, and no testnet standing: these tests
// don't skip.

func TestDockerSuite(t *testing.T) {
	boxtest.Run(t, boxtest.Kind{
		Up: func(t *testing.T, plan box.Plan) box.Enterprise {
			e, err := Up(t.Context(), Setup{Plan: plan, Port: DefaultPort}, t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		Left: left,
	})
}

// left lists what is here of a testnet.
func left(t *testing.T) []string {
	var all []string
	for _, args := range [][]string{
		{"ps", "-a", "--filter", "label=" + label, "--format", "container={{.Names}}"},
		{"network", "ls", "--filter", "label=" + label, "--format", "network={{.Name}}"},
		{"volume", "ls", "--filter", "label=" + label, "--format", "volume={{.Name}}"},
		{"image", "ls", "-a", "--filter", "label=" + label, "--format", "image={{.ID}}"},
	} {
		found, err := lines(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), folder+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(all, folders...)
}
