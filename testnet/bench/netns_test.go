//go:build netns

package main

import (
	"strings"
	"testing"
)

// Who asks for the tag netns has to be root: these tests don't skip. Each
// command fails by itself if a figure is off its goal.

func TestNetDifferenceIsWhatNodesFetch(t *testing.T) {
	if err := run(t.Context(), []string{"difference", "-live", "-quick", "-dir", t.TempDir()}); err != nil {
		t.Error(err)
	}
}

func TestNetGetTakesOneCopyWhereDisksCanShare(t *testing.T) {
	if err := run(t.Context(), []string{"disk", "-size", "64", "-dir", t.TempDir()}); err != nil {
		t.Error(err)
	}
}

func TestNetEachDeliveryIsMeasured(t *testing.T) {
	for _, args := range []string{
		"spread -peers 3 -port 1gbit", "branch -peers 2 -contents 2 -spread", "branch -peers 3 -late -json",
		"update -peers 2", "carriers -peers 3 -kills 2", "crash -kills 2", "linkdown -down 2s",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel() // nobody looks at the figures
			// Copies are compared by the command itself.
			if err := run(t.Context(), append(strings.Fields(args), "-size", "8", "-runs", "1", "-dir", t.TempDir())); err != nil {
				t.Error(err)
			}
		})
	}
}
