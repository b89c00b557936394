package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/chaos"
)

// What a run that failed says is what leads to the same timeline and verdicts.
func TestChaosSaysHowItRunsAgain(t *testing.T) {
	for _, args := range [][]string{
		{"--seed", "7"},
		{"--seed", "18446744073709551615", "--minutes", "0.75", "--sites", "3", "--peers", "1", "--race"},
	} {
		f, err := parseChaos(args)
		if err != nil {
			t.Fatal(err)
		}
		want, err := f.timeline(f.plan)
		if err != nil {
			t.Fatal(err)
		}
		_, said, _ := strings.Cut(f.again(want), " chaos ")
		again, err := parseChaos(strings.Fields(said))
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.timeline(again.plan)
		if err != nil || got.String() != want.String() || again.race != f.race || again.on != f.on {
			t.Errorf("%v: again with %q: %v", args, said, err)
		}
	}
}

func TestMemoryIsNotJudgedWithTheRaceDetector(t *testing.T) {
	memory := func(f chaosFlags) bool {
		grown := chaos.Growth{After: box.Usage{RSS: 1 << 30}}
		verdicts := f.judge(chaos.Timeline{}, chaos.Record{Usage: map[string]chaos.Growth{"operator": grown}})
		return slices.ContainsFunc(verdicts, func(v chaos.Verdict) bool { return v.Name == chaos.Memory && !v.Pass })
	}
	if !memory(chaosFlags{}) {
		t.Error("a GiB more passes")
	}
	if memory(chaosFlags{race: true}) {
		t.Error("with the race detector a GiB more fails")
	}
}
