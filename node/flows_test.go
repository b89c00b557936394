package node

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

// Two gets of one content, that nobody gives yet, are one flow; it goes when they do.
func TestContentOnItsWayIsOneFlow(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "hq", Site: "hq"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 3)
	id := "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"
	dir := t.TempDir()
	for _, out := range []string{"one", "two"} {
		go func() {
			_, err := a.node.API().Get(ctx, api.GetRequest{Ref: id, Output: filepath.Join(dir, out)}, nil)
			ended <- err
		}()
	}
	until(t, patience, func() bool { return len(a.node.gets.list()) == 2 && len(a.flows()) == 1 && a.flows()[0].Content == id })
	if f := a.flows()[0]; f.Phase != api.Finding || f.Total != 0 {
		t.Errorf("%+v", f)
	}
	go func() {
		_, err := a.node.API().Get(ctx, api.GetRequest{Ref: "nobody@7", Output: filepath.Join(dir, "three")}, nil)
		ended <- err
	}()
	until(t, patience, func() bool { return len(a.flows()) == 2 })
	if f := a.flows()[1]; f.Name != "nobody" || f.Version != "7" || f.Content != "" {
		t.Errorf("by its name: %+v", f)
	}
	if w, err := a.node.API().Why(t.Context(), "nobody@7", api.AllChunks); err != nil || w.Flow == nil || w.Flow.Phase != api.Finding || w.Content != "" {
		t.Errorf("why: %+v, %v", w, err)
	}
	cancel()
	for range 3 {
		if err := <-ended; err == nil {
			t.Error("it was there")
		}
	}
	if left := a.flows(); len(left) != 0 {
		t.Errorf("%+v are left", left)
	}
}

func (e *endpoint) flows() []api.FlowStatus {
	e.t.Helper()
	st, err := e.node.API().Status(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return st.Flows
}
