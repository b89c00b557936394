package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// reopen closes a store and opens it again.
func reopen(t *testing.T, s *store.Store, cfg store.Config, id content.ID) (*store.Store, *store.Content) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	c, ok := s.Get(id)
	if !ok {
		t.Fatal("gone after the store was closed")
	}
	return s, c
}

func TestPinsSurvive(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	cfg := store.Config{Dir: t.TempDir()}
	s := open(t, cfg)
	c, _ := fetchMost(t, s, sample)
	if c.Pinned() {
		t.Error("pinned by nobody")
	}
	for _, pinned := range []bool{true, true, false, true} {
		if err := c.Pin(pinned); err != nil {
			t.Fatal(err)
		}
		s, c = reopen(t, s, cfg, sample.ID)
		if c.Pinned() != pinned {
			t.Errorf("pinned %v after the store was closed, want %v", c.Pinned(), pinned)
		}
	}
	// A stage takes the place of what is partial, and of its pin.
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	f, err := stage.Create("file.bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sample.Data); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if c, err = stage.Commit(sample.Encoded, sample.Blocks); err != nil {
		t.Fatal(err)
	}
	if !c.Pinned() {
		t.Error("the pin was lost with the partial content")
	}
	if s, c = reopen(t, s, cfg, sample.ID); !c.Pinned() {
		t.Error("the pin that was taken over was lost")
	}
	s.Close()
}

// What somebody wanted to be kept isn't thrown away because its state can't be
// read.
func TestDamagedStateIsAPin(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	cfg := store.Config{Dir: t.TempDir()}
	s := open(t, cfg)
	c, _, _ := fetch(t, s, sample)
	if err := c.Pin(true); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(cfg.Dir, "content", sample.ID.String(), "state")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		flipped := bytes.Clone(whole)
		flipped[cut] ^= 0x10
		for _, bad := range [][]byte{whole[:cut], flipped} {
			if err := os.WriteFile(name, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg)
			if c, ok := s.Get(sample.ID); !ok || !c.Pinned() || !c.Complete() {
				t.Fatalf("state cut or flipped at %d: here %v, and not as it was", cut, ok)
			}
			s.Close()
		}
	}
}

func TestLastUseIsKeptByTheHourAndAtTheEnd(t *testing.T) {
	sample := storetest.File(t, 1, 60_000, storetest.Small)
	dir := t.TempDir()
	name := filepath.Join(dir, "content", sample.ID.String(), "state")
	synctest.Test(t, func(t *testing.T) {
		cfg := store.Config{Dir: dir}
		s, err := store.Open(cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		go s.Run(t.Context())
		c, _, _ := fetch(t, s, sample)
		read := func() {
			if _, err := c.ReadBlock(0, 0, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		time.Sleep(30 * time.Minute)
		// The folder was made in the future: files have the world's time, and this
		// is 2000. So nothing is newer than that but by the content's own word.
		if err := os.Chtimes(filepath.Join(filepath.Dir(name), "root"), time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if s, c = reopen(t, s, cfg, sample.ID); c.LastUsed().After(time.Now()) {
			t.Error("used in the future")
		}
		go s.Run(t.Context())
		os.Remove(name)
		time.Sleep(time.Minute)
		read()
		if _, err := os.Stat(name); err == nil {
			t.Error("written for each use")
		}
		time.Sleep(time.Hour)
		used := time.Now()
		read()
		kept, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("not written after an hour: %v", err)
		}
		time.Sleep(time.Minute)
		last := time.Now()
		read()
		if again, _ := os.ReadFile(name); !bytes.Equal(kept, again) {
			t.Error("written again within the hour")
		}
		if used.Equal(last) {
			t.Error("no time passed")
		}
		if s, c = reopen(t, s, cfg, sample.ID); !c.LastUsed().Equal(last.Truncate(time.Second)) {
			t.Errorf("last used %v, want %v", c.LastUsed(), last)
		}
		s.Close()
	})
}
