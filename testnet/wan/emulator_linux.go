package wan

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// An Emulator moves packets between two TUN devices, one Link each way. Set,
// Settings and Counts may be called at any time until Close.
type Emulator struct {
	directions [2]*direction
	undo       []func() error // what New did, in order
}

// New makes the devices and sets them up. It needs root, or CAP_NET_ADMIN and
// /dev/net/tun.
func New(cfg Config) (_ *Emulator, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Emulator{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	var tun [2]int
	for i, end := range cfg.Ends {
		if tun[i], err = openTUN(end); err != nil {
			return nil, err
		}
		e.undo = append(e.undo, func() error { return unix.Close(tun[i]) })
	}
	for i := range e.directions {
		link, err := NewLink(cfg.Settings[i], len(cfg.Classes)+1, cfg.Seed+uint64(i))
		if err != nil {
			return nil, err
		}
		d, err := newDirection(tun[i], tun[1-i], link, cfg.Classes)
		if err != nil {
			return nil, err
		}
		e.directions[i] = d
		e.undo = append(e.undo, func() error { return unix.Close(d.wake) })
	}
	for i, end := range cfg.Ends {
		if end.From == "" {
			continue
		}
		remove, err := steer(end, firstTable+i)
		if err != nil {
			return nil, fmt.Errorf("lead what comes in by %s into %s: %w", end.From, end.Device, err)
		}
		e.undo = append(e.undo, remove)
	}
	return e, nil
}

// Close takes away what New made. Call it after Run has returned.
func (e *Emulator) Close() error {
	var errs []error
	for i := len(e.undo) - 1; i >= 0; i-- {
		errs = append(errs, e.undo[i]())
	}
	e.undo = nil
	return errors.Join(errs...)
}

// Run moves packets until the context ends, and then returns nil. It can be
// called once.
func (e *Emulator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range e.directions {
		g.Go(d.run)
	}
	g.Go(func() error {
		<-ctx.Done()
		for _, d := range e.directions {
			d.stop()
		}
		return nil
	})
	return g.Wait()
}

// Set changes what a direction does, from now on: see Link.Set.
func (e *Emulator) Set(d Direction, s Settings) error { return e.directions[d].set(s) }

// Settings returns what a direction does.
func (e *Emulator) Settings(d Direction) Settings { return e.directions[d].settings() }

// Counts returns what a direction has done so far.
func (e *Emulator) Counts(d Direction) Counts { return e.directions[d].counts() }
