package main

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p2pnode/p2pnode/bandwidth"
)

func TestRatesTellBitsFromBytes(t *testing.T) {
	for text, want := range map[string]bandwidth.Rate{
		"10Mbit":          10_000_000,
		"10 Mbit/s":       10_000_000,
		"1.5Gbit":         1_500_000_000,
		"64kbit":          64_000,
		"2MiB/s":          16 << 20,
		"2MB/s":           16_000_000,
		" 100 B/s ":       800,
		"0Mbit":           0,
		"10":              -1, // of what?
		"10M":             -1, // bits or bytes?
		"10Mb":            -1,
		"10mbit":          -1, // milli
		"10MB":            -1, // in which time?
		"10Mbit/h":        -1,
		"Mbit":            -1,
		"-1Mbit":          -1,
		"1e3Mbit":         -1,
		"1.2.3Mbit":       -1,
		"9e30Gbit":        -1,
		"99999999999Gbit": -1,
		"":                -1,
	} {
		got, err := parseRate(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"64MiB": 64 << 20, "1.5 GB": 1_500_000_000, "100B": 100, "0B": 0, "2TiB": 2 << 40, "1kB": 1000, "1KiB": 1024,
		"64": -1, "64M": -1, "64mib": -1, "64Mbit": -1, "9999999999TiB": -1, "MiB": -1, "-1B": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d (%v), want %d", text, got, err, want)
		}
	}
}

// What help shows for a flag's value can be typed.
func TestFlagsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1<<52).Draw(t, "n")
		var bytes int64
		if err := (sizeFlag{&bytes}).Set(sizeFlag{&n}.String()); err != nil || bytes != n {
			t.Fatalf("%d bytes: %s, %d, %v", n, sizeFlag{&n}, bytes, err)
		}
		r := bandwidth.Rate(n)
		var bits bandwidth.Rate
		if err := (rateFlag{&bits}).Set(rateFlag{&r}.String()); err != nil || bits != r {
			t.Fatalf("%d bit/s: %s, %d, %v", n, rateFlag{&r}, bits, err)
		}
		d := time.Duration(n)
		var again time.Duration
		if err := (timeFlag{&again}).Set(timeFlag{&d}.String()); err != nil || again != d {
			t.Fatalf("%v: %s, %v, %v", d, timeFlag{&d}, again, err)
		}
	})
}

func TestQuotasReadWhatTheyWrite(t *testing.T) {
	for text, want := range map[string]struct {
		bytes int64
		share float64
	}{"10%": {0, 0.1}, "2.5%": {0, 0.025}, "50GiB": {50 << 30, 0}, "none": {-1, 0}} {
		var bytes int64
		var share float64
		f := quotaFlag{&bytes, &share}
		if err := f.Set(text); err != nil || bytes != want.bytes || share != want.share || f.String() != text {
			t.Errorf("%s: %d, %v, shown as %s, %v", text, bytes, share, f, err)
		}
	}
	for _, bad := range []string{"", "10", "0%", "-1%", "100.1%", "0B", "nothing", "10% of it", "NaN%"} {
		var bytes int64
		var share float64
		if err := (quotaFlag{&bytes, &share}).Set(bad); err == nil {
			t.Errorf("%q is taken for %d bytes, %v of the disk", bad, bytes, share)
		}
	}
}

func TestTimesMayBeDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "0.5d": 12 * time.Hour, "90s": 90 * time.Second, "d": -1, "-1d": -1, "-5s": -1, "5": -1, "1e9d": -1} {
		got := time.Duration(-1)
		var d time.Duration
		if (timeFlag{&d}).Set(text) == nil {
			got = d
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestWhatPeopleRead(t *testing.T) {
	for got, want := range map[string]string{
		size(0):                                    "0 B",
		size(1023):                                 "1023 B",
		size(64 << 20):                             "64.0 MiB",
		size(1<<63 - 1):                            "8.0 EiB",
		share(412<<20, 1431<<20):                   "412/1431 MiB",
		share(0, 9999):                             "0/9999 B",
		share(1<<40-1, 1<<40):                      "1023/1024 GiB",
		percent(1<<40-1, 1<<40):                    "99 %", // not 100: a byte is missing
		percent(0, 0):                              "100 %",
		percent(34, 100):                           "34 %",
		speed(8 * 9_600_000):                       "9.6 MB/s",
		speed(8):                                   "1 B/s",
		bits(20 * bandwidth.MbitPerSecond):         "20 Mbit/s",
		bits(1_500_000):                            "1.5 Mbit/s",
		bits(0):                                    "0 bit/s",
		clock(14 * time.Second):                    "0:14",
		clock(3723 * time.Second):                  "1:02:03",
		span(40 * time.Millisecond):                "0.04 s",
		span(3 * time.Hour):                        "3 h",
		latency(0):                                 "-",
		latency(400 * time.Microsecond):            "0.4 ms",
		latency(18 * time.Millisecond):             "18 ms",
		shortPeer("12D3KooWRYB4BrUopyJXLyhzVV"):    "12D3KooW…yhzVV",
		title("pos", "7.2", "!"):                   "pos 7.2!",
		count(1, "file") + ", " + count(2, "file"): "1 file, 2 files",
		listening([]string{"/ip4/0.0.0.0/tcp/4740", "/ip6/::/tcp/4740", "/ip4/0.0.0.0/udp/4740/quic-v1", "/ip4/127.0.0.1/tcp/80"}): "tcp/4740, quic/4740, tcp 127.0.0.1:80",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
