package compose

import (
	"encoding/json"
	"fmt"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// Project is the name that containers, networks and volumes begin with, unless
// they were started by hand under another one.
const Project = "p2pnode-testnet"

// Container returns how docker calls the container of a node that Up started.
func Container(node string) string { return Project + "-" + node }

// A Setup says what to start.
type Setup struct {
	Plan box.Plan
	Port int // of the window, on the host's loopback
}

// Defaults of a Setup: small enough for a laptop, and links as of a branch with
// fibre. HQ's serves all branches.
const (
	DefaultBranches = 2
	DefaultPeers    = 3
	DefaultLink     = "rate=50mbit delay=20ms"
	DefaultHQ       = "rate=200mbit delay=5ms"
	DefaultPort     = 4790
)

// Default returns the Setup of docker-compose.yml.
func Default() Setup {
	branch, hq := must(DefaultLink), must(DefaultHQ)
	return Setup{Port: DefaultPort, Plan: box.Plan{
		Branches: DefaultBranches, Peers: DefaultPeers,
		Up: branch, Down: branch, HQUp: hq, HQDown: hq,
		Seed: 1,
	}}
}

func must(text string) wan.Settings {
	s, err := wan.Parse(text)
	if err != nil {
		panic(err) // of constants
	}
	return s
}

// Check returns an error that says what is wrong.
func (s Setup) Check() error {
	if s.Port < 1 || s.Port > 65535 {
		return fmt.Errorf("port %d of the window: want 1 to 65535", s.Port)
	}
	return s.Plan.Check()
}

// written is a Setup as it stands in a label of the window's container: whoever
// finds that one knows what else there is.
type written struct {
	Branches int      `json:"branches"`
	Peers    int      `json:"peers"`
	Up       string   `json:"up"`
	Down     string   `json:"down"`
	HQUp     string   `json:"hq_up"`
	HQDown   string   `json:"hq_down"`
	Disk     int64    `json:"disk"`
	Flags    []string `json:"flags,omitempty"`
	Seed     uint64   `json:"seed"`
	Port     int      `json:"port"`
}

func (s Setup) text() string {
	p := s.Plan
	b, err := json.Marshal(written{p.Branches, p.Peers, p.Up.String(), p.Down.String(), p.HQUp.String(), p.HQDown.String(), p.Disk, p.Flags, p.Seed, s.Port})
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}

// read is the reverse of text.
func read(text string) (Setup, error) {
	var w written
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return Setup{}, fmt.Errorf("read what stands here: %w", err)
	}
	s := Setup{Port: w.Port, Plan: box.Plan{Branches: w.Branches, Peers: w.Peers, Disk: w.Disk, Flags: w.Flags, Seed: w.Seed}}
	for _, l := range []struct {
		text string
		into *wan.Settings
	}{{w.Up, &s.Plan.Up}, {w.Down, &s.Plan.Down}, {w.HQUp, &s.Plan.HQUp}, {w.HQDown, &s.Plan.HQDown}} {
		var err error
		if *l.into, err = wan.Parse(l.text); err != nil {
			return Setup{}, fmt.Errorf("read what stands here: %w", err)
		}
	}
	return s, s.Check()
}
