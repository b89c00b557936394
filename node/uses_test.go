package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// What is to be moved is taken from nobody: others that have it open finish first,
// and who comes meanwhile is served too.
func TestMoveLetsOthersFinish(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	dir := t.TempDir()
	file := sample(t, filepath.Join(dir, "image"), 3<<20, 80)
	added := hq.add(api.AddRequest{Paths: []string{file}, Name: "image"})
	till.get("image", filepath.Join(dir, "first"))
	id, err := content.ParseID(added.Content)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := gatehouse{till.node}.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waits := make(chan struct{})
	moved := make(chan error, 1)
	told := false
	out := filepath.Join(dir, "moved")
	go func() {
		_, err := till.node.API().Get(ctx, api.GetRequest{Ref: "image", Output: out, Move: true}, func(s api.FlowStatus) {
			if !told && s.Phase == api.Waiting && s.Reason == api.ForOthers {
				told = true
				close(waits)
			}
		})
		moved <- err
	}()
	select {
	case <-waits:
	case err := <-moved:
		t.Fatalf("moved from under a reader: %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is still read was handed over: %v", err)
	}
	_, err = till.node.API().Get(ctx, api.GetRequest{Ref: "image", Output: out + "-too", Move: true}, nil)
	if e := api.From(err); e.Code != api.Busy || e.Next == "" {
		t.Errorf("moved to a second place: %+v", e)
	}
	_, err = till.node.API().Remove(ctx, "image")
	if e := api.From(err); e.Code != api.Busy || e.Next == "" {
		t.Errorf("removed while a get is at it: %+v", e)
	}
	if got := till.get("image", filepath.Join(dir, "second")); got.From.Total() > 0 {
		t.Errorf("fetched again: %+v", got)
	}
	if err := reader.Want(ctx, 0, 0); err != nil {
		t.Errorf("the reader: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	sameFile(t, file, out)
	sameFile(t, file, filepath.Join(dir, "second"))
	if _, ok := till.node.store.Get(id); ok {
		t.Error("the node has it still")
	}
	if len(till.node.uses.of) > 0 {
		t.Errorf("uses are remembered: %v", till.node.uses.of)
	}
}

// A move that may not wait for ever says what it waited for, and nothing is lost.
func TestMoveGivesUpBesideOthers(t *testing.T) {
	hq := start(t, Config{Name: "hq", Site: "hq"})
	till := hq.join("till", "branch")
	till.meet(1)
	dir := t.TempDir()
	file := sample(t, filepath.Join(dir, "image"), 1<<20, 81)
	added := hq.add(api.AddRequest{Paths: []string{file}, Name: "image", Version: "1"})
	till.get("image", filepath.Join(dir, "first"))
	id, err := content.ParseID(added.Content)
	if err != nil {
		t.Fatal(err)
	}
	leave, err := till.node.uses.enter(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	_, err = till.node.API().Get(t.Context(), api.GetRequest{Ref: "image@1", Output: filepath.Join(dir, "moved"), Move: true, Timeout: api.Seconds(2 * time.Second)}, nil)
	if e := api.From(err); e.Code != api.TimedOut || e.Next == "" {
		t.Errorf("%+v", e)
	}
	if !mustContent(t, till, "image").Complete {
		t.Error("the node has it no more")
	}
}

// Who comes while a content is taken away waits until it is gone.
func TestWhoComesWhileContentIsMovedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, id := newUses(), content.ID{1}
		leave, err := u.enter(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		done, ok := u.move(id)
		if !ok {
			t.Fatal("not moved")
		}
		if _, ok := u.move(id); ok {
			t.Error("moved twice")
		}
		var order []string
		go func() {
			if err := u.alone(t.Context(), id); err != nil {
				t.Error(err)
			}
			order = append(order, "alone")
			time.Sleep(time.Second)
			order = append(order, "moved")
			done()
		}()
		synctest.Wait()
		if len(order) > 0 {
			t.Fatalf("alone beside another")
		}
		leave()
		leave() // the second time does nothing
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := u.enter(ctx, id); err == nil {
			t.Error("entered while it is moved")
		}
		again, err := u.enter(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(order) != 2 {
			t.Errorf("entered after %v", order)
		}
		again()
		if len(u.of) > 0 {
			t.Errorf("remembered: %v", u.of)
		}
	})
}
