//go:build netns

package main

import "testing"

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
