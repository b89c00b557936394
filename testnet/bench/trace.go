//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// traceEvery is how far apart the lines of a trace are.
const traceEvery = 100 * time.Millisecond

// trace writes a table with a line every tenth of a second until stop is called:
// what crossed the links since the line before, as a rate, and what of it which
// node counts as fetched or for nothing. It is to see where time was lost.
func (f *field) trace(ctx context.Context, m means, path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(file)
		err := f.write(ctx, m, w)
		ended <- errors.Join(err, w.Flush(), file.Close())
	}()
	return func() error { cancel(); return <-ended }, nil
}

func (f *field) write(ctx context.Context, m means, w *bufio.Writer) error {
	links := []string{f.from.Site()}
	fmt.Fprintf(w, "s\t%s up", links[0])
	for _, site := range f.sites {
		links = append(links, site)
		fmt.Fprintf(w, "\t%s down", site)
	}
	for _, n := range f.to {
		fmt.Fprintf(w, "\t%s\tnothing", n.Name())
	}
	fmt.Fprintln(w, "\t(links in Mbit/s, nodes in kB)")
	start := time.Now()
	before, last := start, f.levels(ctx, m, links)
	for sleep(ctx, traceEvery) == nil {
		now, next := time.Now(), f.levels(ctx, m, links)
		fmt.Fprintf(w, "%.2f", now.Sub(start).Seconds())
		for i := range next {
			moved := float64(next[i] - last[i])
			if i < len(links) {
				fmt.Fprintf(w, "\t%.1f", moved*8/1e6/now.Sub(before).Seconds())
			} else {
				fmt.Fprintf(w, "\t%.0f", moved/1e3)
			}
		}
		fmt.Fprintln(w)
		before, last = now, next
	}
	return nil
}

// levels are all counters of a trace; what can't be read now (a node that is off) is
// 0.
func (f *field) levels(ctx context.Context, m means, links []string) []int64 {
	all := make([]int64, len(links)+2*len(f.to))
	var reading errgroup.Group
	for i, site := range links {
		d := box.Down
		if i == 0 {
			d = box.Up
		}
		reading.Go(func() error {
			counts, err := f.box.Link(site).Counts(ctx, d)
			for _, c := range counts.Classes {
				all[i] += c.Delivered.Bytes
			}
			return err
		})
	}
	for i, n := range f.to {
		reading.Go(func() error {
			got, err := m.fetched(ctx, n)
			all[len(links)+2*i], all[len(links)+2*i+1] = got.others, got.othersWasted
			return err
		})
	}
	_ = reading.Wait() // a line with a hole is better than none
	return all
}

// tracePath is where the next trace of what we deliver to branches goes.
func (f *field) tracePath(m means) string {
	if _, ok := m.(*ours); !ok || f.traces == "" || len(f.sites) == 0 {
		return ""
	}
	for i := 1; ; i++ {
		path := filepath.Join(f.traces, fmt.Sprintf("delivery-%d.tsv", i))
		if _, err := os.Stat(path); err != nil {
			return path
		}
	}
}
