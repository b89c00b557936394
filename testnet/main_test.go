package main

import (
	"errors"
	"testing"
)

// `down branch-a` would otherwise take all of it away.
func TestWhatACommandDoesNotTakeIsWrongUse(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // there is no docker here
	for _, c := range []string{"up", "verify", "down", "smoke"} {
		if err := run(t.Context(), []string{c, "branch-a"}); !errors.Is(err, errUsage) {
			t.Errorf("%s branch-a: %v, want wrong use", c, err)
		}
	}
}
