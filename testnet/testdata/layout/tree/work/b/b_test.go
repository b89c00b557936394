package b

import (
	"testing"

	_ "example.org/bad/node"
	_ "example.org/bad/testnet"
)

func TestSkips(t *testing.T) {
	t.Skip("needs root: makes network namespaces")
	t.Skip("flaky")
	t.SkipNow()
	t.Run("sub", func(sub *testing.T) { sub.Skipf("too slow on %s", "mondays") })
	reader{}.Skip("4 bytes")
}

type reader struct{}

func (reader) Skip(string) {}
