//go:build !linux

package wan

import (
	"context"
	"errors"
)

// An Emulator needs Linux.
type Emulator struct{}

var errSystem = errors.New("the link emulator needs Linux's TUN devices; run it there, or in a container")

// New returns an error.
func New(cfg Config) (*Emulator, error) { return nil, errors.Join(cfg.check(), errSystem) }

// Run returns an error.
func (e *Emulator) Run(context.Context) error { return errSystem }

// Set returns an error.
func (e *Emulator) Set(Direction, Settings) error { return errSystem }

// Settings returns none.
func (e *Emulator) Settings(Direction) Settings { return Settings{} }

// Counts returns none.
func (e *Emulator) Counts(Direction) Counts { return Counts{} }

// Close does nothing.
func (e *Emulator) Close() error { return nil }

// RealTime returns an error.
func RealTime() error { return errSystem }

// AddRoute returns an error.
func AddRoute(Route) error { return errSystem }

// A Router needs Linux.
type Router struct{}

// NewRouter returns an error.
func NewRouter(RouterConfig) (*Router, error) { return nil, errSystem }

// Run returns an error.
func (r *Router) Run(context.Context) error { return errSystem }

// Close does nothing.
func (r *Router) Close() error { return nil }
