package meter

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// What Linux tells of an interface in /sys/class/net/<name> (Documentation/ABI,
// sysfs-class-net) and in /proc/net/dev. These read files of any machine, so that
// recorded ones can be read anywhere.

// readSysfs returns the kind and the speed of the interface whose folder dir is.
func readSysfs(dir fs.FS) (kind Reading[Kind], speed Reading[bandwidth.Rate]) {
	text := func(name string) string {
		b, err := fs.ReadFile(dir, name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	has := func(name string) bool {
		_, err := fs.Stat(dir, name)
		return err == nil
	}
	devtype := ""
	for line := range strings.Lines(text("uevent")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); ok {
			devtype = v
		}
	}
	// ARPHRD numbers of include/uapi/linux/if_arp.h.
	switch t := text("type"); {
	case t == "":
		// Not an interface's folder, or not ours to see.
	case t == "772":
		kind = Read(Loopback, "sysfs type")
	case devtype == "wwan":
		kind = Read(Cellular, "sysfs uevent")
	case devtype == "wlan" || has("phy80211") || has("wireless"):
		kind = Read(WiFi, "sysfs phy80211")
	case !has("device"):
		kind = Read(Virtual, "sysfs device")
	case t == "1":
		kind = Read(Ethernet, "sysfs type")
	}
	// A wire that is down says -1, and what has no speed (Wi-Fi) can't be read.
	if mbit, err := strconv.ParseInt(text("speed"), 10, 64); err == nil && mbit > 0 && mbit < math.MaxInt64/int64(bandwidth.MbitPerSecond) {
		speed = Read(bandwidth.Rate(mbit)*bandwidth.MbitPerSecond, "sysfs speed")
	}
	return kind, speed
}

// parseCount reads a file of statistics/.
func parseCount(b []byte) (uint64, error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) == 0 {
		return 0, fmt.Errorf("a count is empty")
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxUint64-9)/10 {
			return 0, fmt.Errorf("%.20q is no count", b)
		}
		n = n*10 + uint64(c-'0')
	}
	return n, nil
}

// parseNetDev finds the counts of an interface in /proc/net/dev: two lines of
// heading, then "name: " and the bytes, packets and six more of what came, and the
// same of what went.
func parseNetDev(b []byte, name string) (Bytes, error) {
	for line := range bytes.Lines(b) {
		// A name may hold a colon (an alias), the numbers don't.
		colon := bytes.LastIndexByte(line, ':')
		if colon < 0 || string(bytes.TrimSpace(line[:colon])) != name {
			continue
		}
		fields := bytes.Fields(line[colon+1:])
		if len(fields) < 9 {
			return Bytes{}, fmt.Errorf("%s has %d counts in /proc/net/dev", name, len(fields))
		}
		in, err := parseCount(fields[0])
		if err != nil {
			return Bytes{}, err
		}
		out, err := parseCount(fields[8])
		return Bytes{in, out}, err
	}
	return Bytes{}, fmt.Errorf("%s is not in /proc/net/dev", name)
}
