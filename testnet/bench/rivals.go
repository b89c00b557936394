//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A rival is another means to deliver.
type rival struct {
	name, title string
	needs       string // a program that must be installed, or empty
	start       func(*field) means
}

var rivals = []rival{
	{"http", "plain HTTP", "", func(f *field) means { return &plain{from: f.from} }},
	{"aria2", "aria2", "aria2c", func(f *field) means { return &aria2{f: f} }},
	{"syncthing", "Syncthing", "syncthing", func(f *field) means { return &syncthing{f: f} }},
}

// noRival is what stands for none of them.
const noRival = "none"

func rivalNames() string {
	var names []string
	for _, r := range rivals {
		names = append(names, r.name)
	}
	return strings.Join(names, ", ")
}

// rivalsOf reads a list of them.
func rivalsOf(list string) (found []rival, err error) {
	if list == "" || list == noRival {
		return nil, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(rivals, func(r rival) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-beside %s: want some of %s, or %s", name, rivalNames(), noRival)
		}
		found = append(found, rivals[i])
	}
	return found, nil
}

// there fails unless it is installed.
func (r *rival) there() error {
	if r.needs == "" {
		return nil
	}
	if _, err := exec.LookPath(r.needs); err != nil {
		return fmt.Errorf("%w; apt-get install %s", err, r.name)
	}
	return nil
}
