package compose

import (
	"context"
	"fmt"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A link is changed and read at its router's control socket, by the window.
type link struct {
	site    string
	control *wan.Control
}

func (l *link) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", l.site, err)
}

func (l *link) Set(ctx context.Context, d box.Direction, s wan.Settings) error {
	return l.failed(l.control.Set(ctx, d, s))
}

func (l *link) Settings(ctx context.Context, d box.Direction) (wan.Settings, error) {
	s, err := l.control.State(ctx, d)
	if err != nil {
		return wan.Settings{}, l.failed(err)
	}
	return wan.Parse(s.Settings)
}

func (l *link) Counts(ctx context.Context, d box.Direction) (wan.Counts, error) {
	s, err := l.control.State(ctx, d)
	return s.Counts, l.failed(err)
}
