//go:build !linux

package scenario

import "os/exec"

// orphan does nothing here: only Linux can end a child with its parent.
func orphan(*exec.Cmd) {}

// A Space is a network namespace; only Linux has them.
type Space struct{}

func (*Space) argv(argv []string) []string { return argv }
