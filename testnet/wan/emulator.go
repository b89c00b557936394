package wan

import (
	"errors"
	"fmt"
	"time"
)

// Config says between what an Emulator stands.
type Config struct {
	Ends     [2]End
	Settings [2]Settings // by Direction
	Classes  []Class     // the first that matches a packet counts it
	Seed     uint64
}

// An End is a TUN device that an Emulator makes: what the kernel sends into it
// crosses the link and comes out of the other end's.
//
// Between two namespaces each has an End; give the devices addresses and routes
// once New has returned. In a router (a container with a foot in each of two
// networks) both ends are in one namespace, and From says which packets take the
// link: those to be forwarded that came in by this interface. They come out of the
// other end's device and are then routed as if there were no link. IPv4 only.
type End struct {
	Space  string // as in `ip netns`; empty: where this process runs
	Device string
	From   string // empty: what is routed to Device
}

// A Direction is one of the two ways through an Emulator.
type Direction int

const (
	Forth Direction = iota // from the first end to the second
	Back
)

// Counts are what one direction has done so far.
type Counts struct {
	Classes []ClassCount `json:"classes"` // those of Config, then Other

	// What kept the emulator from doing what it was asked. All are 0 on a machine
	// that is fast enough, and measurements of the rest are worth nothing if not.
	Missed  int64         `json:"missed"`  // packets that came while too many were under way
	Refused int64         `json:"refused"` // packets that the far side's kernel did not take
	Latest  time.Duration `json:"latest_ns"`
	Late    int64         `json:"late"` // packets that went out more than 1 ms after their time
}

// A ClassCount is the Count of a class.
type ClassCount struct {
	Class string `json:"class"`
	Count
}

const late = time.Millisecond

// maxUnderWay bounds the packets of a direction, and so its memory to 256 MiB: 1
// Gbit/s for 1.5 s.
const maxUnderWay = 1 << 17

func (c *Config) check() error {
	for i, e := range c.Ends {
		if e.Device == "" || len(e.Device) > 15 || len(e.From) > 15 {
			return fmt.Errorf("end %d: device %q, from %q: want a device's name of up to 15 letters", i, e.Device, e.From)
		}
	}
	if c.Ends[0].Space == c.Ends[1].Space && c.Ends[0].Device == c.Ends[1].Device {
		return fmt.Errorf("both ends are device %q; want two devices or two namespaces", c.Ends[0].Device)
	}
	if (c.Ends[0].From == "") != (c.Ends[1].From == "") {
		return errors.New("one end says where its packets come from and the other doesn't; want both or neither")
	}
	return nil
}
