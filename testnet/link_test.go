package main

import (
	"errors"
	"testing"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

func TestLinkVerb(t *testing.T) {
	for _, c := range []struct {
		args []string
		want map[box.Direction]string
		bad  bool
	}{
		{nil, nil, false},
		{[]string{"ls"}, nil, false},
		{[]string{"branch-a", "cut"}, map[box.Direction]string{box.Up: cut, box.Down: cut}, false},
		{[]string{"branch-a", "heal"}, map[box.Direction]string{box.Up: healed, box.Down: healed}, false},
		{[]string{"branch-a", "down", "rate=2mbit", "delay=300ms"}, map[box.Direction]string{box.Down: "rate=2mbit delay=300ms"}, false},
		{[]string{"branch-a", "down", "rate=2"}, nil, true},
		{[]string{"branch-a", "sideways", "rate=2mbit"}, nil, true},
		{[]string{"branch-a"}, nil, true},
	} {
		got, err := linkVerb(c.args)
		if (err != nil) != c.bad || c.bad && !errors.Is(err, errUsage) || len(got) != len(c.want) {
			t.Errorf("%q: %v, %v; want %v", c.args, got, err, c.want)
			continue
		}
		for d, text := range c.want {
			if got[d] != text {
				t.Errorf("%q: %v: %q, want %q", c.args, d, got[d], text)
			}
		}
	}
}

// A link that is cut and healed does what it did before.
func TestCutAndHealedIsAsBefore(t *testing.T) {
	s, err := wan.Parse("rate=2mbit delay=300ms loss=1%")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.With(cut)
	if err != nil || len(gone.Outages) != 1 {
		t.Fatalf("%v, %v", gone, err)
	}
	back, err := gone.With(healed)
	if err != nil || back.String() != s.String() {
		t.Errorf("%v, %v; want %v", back, err, s)
	}
}
