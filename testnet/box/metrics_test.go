package box

import (
	"strings"
	"testing"
)

func TestUsageIsReadFromMetrics(t *testing.T) {
	const text = `# TYPE go_goroutines gauge
go_goroutines 143
libp2p_rcmgr_connections{dir="inbound",scope="system"} 3
libp2p_rcmgr_connections{dir="inbound",scope="transient"} 1
libp2p_rcmgr_connections{dir="outbound",scope="system"} 4
`
	u := Usage{RSS: 1}
	if err := u.Tell(strings.NewReader(text)); err != nil || u != (Usage{RSS: 1, Goroutines: 143, Connections: 7}) {
		t.Errorf("%+v, %v", u, err)
	}
	if err := u.Tell(strings.NewReader("<html>\n")); err == nil {
		t.Error("a page without metrics is read")
	}
}
