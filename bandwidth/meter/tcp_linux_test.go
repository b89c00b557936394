package meter

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTCPInfoOfAnOldKernelLacksWhatItLacks(t *testing.T) {
	for what, c := range map[string]struct {
		info unix.TCPInfo
		want string
	}{
		"new": {
			unix.TCPInfo{Rtt: 2000, Min_rtt: 1500, Delivery_rate: 1000, Bytes_sent: 9, Bytes_retrans: 1, Notsent_bytes: 4},
			"rtt 2ms by TCP_INFO, min 1.5ms by TCP_INFO, rate 8000 by TCP_INFO, sent 9 by TCP_INFO, resent 1 by TCP_INFO, unsent 4 by TCP_INFO",
		},
		"old":     {unix.TCPInfo{Rtt: 2000}, "rtt 2ms by TCP_INFO, min absent, rate absent, sent absent, resent absent, unsent 0 by TCP_INFO"},
		"too new": {unix.TCPInfo{Min_rtt: math.MaxUint32}, "rtt absent, min absent, rate absent, sent absent, resent absent, unsent 0 by TCP_INFO"},
	} {
		if got := showConnection(fromTCPInfo(&c.info)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, c.want)
		}
	}
}

func TestTCPMeasuresOnLinux(t *testing.T) {
	a, _ := talk(t, 50000)
	c, err := TCP(a)
	if err != nil {
		t.Fatal(err)
	}
	for what, how := range map[string]string{"rtt": c.RoundTrip.How(), "min": c.MinRoundTrip.How(), "rate": c.Delivery.How()} {
		if how == "" {
			t.Errorf("%s is absent", what)
		}
	}
}
