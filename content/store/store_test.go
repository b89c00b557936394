package store_test

import (
	"os"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

func TestMain(m *testing.M) {
	if crashChild() || store.OpenChild() {
		return
	}
	// Thousands of small stores are opened and forgotten.
	debug.SetGCPercent(800)
	// In memory where there is such a thing: the store syncs a lot, and the tests
	// are not about the disk. They need less than 64 MiB.
	if _, set := os.LookupEnv("TMPDIR"); !set {
		if _, err := os.Stat("/dev/shm"); err == nil {
			os.Setenv("TMPDIR", "/dev/shm")
		}
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := store.Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStorePassesTheSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) *store.Store {
		return open(t, store.Config{Dir: dir})
	})
}
