package store

import (
	"fmt"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// ifNoSpace makes an error of a full disk or quota one of content.ErrNoSpace.
func ifNoSpace(err error) error {
	if err != nil && disk.Full(err) {
		return fmt.Errorf("%w: %w: free some, or remove contents (p2pnode content rm ID), and try again", content.ErrNoSpace, err)
	}
	return err
}
