package node

import (
	"context"

	"github.com/p2pnode/p2pnode/content/store"
)

// publishReferenced makes a content of paths that is served from where they are;
// fresh is as for publishFiles.
func (n *Node) publishReferenced(ctx context.Context, paths []string, opt publishOptions) (c *store.Content, made *published, fresh bool, err error) {
	made, entries, err := publishInPlace(ctx, paths, opt)
	if err != nil {
		return nil, nil, false, err
	}
	sources := make([]store.Source, len(entries))
	for i, e := range entries {
		sources[i] = store.Source{Path: e.source, Info: e.info}
	}
	_, held := n.store.Get(made.Encoded.ID)
	if c, err = n.store.Reference(made.Encoded, made.Blocks, sources); err != nil {
		return nil, nil, false, err
	}
	return c, made, !held, nil
}
