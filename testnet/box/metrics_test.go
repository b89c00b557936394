package box

import (
	"strings"
	"testing"

	"github.com/p2pnode/p2pnode/node/api"
)

func TestUsageIsReadFromMetrics(t *testing.T) {
	const text = `# TYPE go_goroutines gauge
go_goroutines 143
libp2p_rcmgr_connections{dir="inbound",scope="system"} 3
libp2p_rcmgr_connections{dir="inbound",scope="transient"} 1
libp2p_rcmgr_connections{dir="outbound",scope="system"} 4
p2pnode_delivered_bytes_total{link="lan"} 1.048576e+06
p2pnode_delivered_bytes_total{link="wan"} 2
p2pnode_wasted_bytes_total{link="lan",reason="corrupt"} 3
p2pnode_wasted_bytes_total{link="wan",reason="duplicate"} 4
p2pnode_wasted_bytes_total{link="wan",reason="unwanted"} 50
`
	u := Usage{RSS: 1}
	want := Usage{RSS: 1, Goroutines: 143, Connections: 7, Fetched: api.ByLink{LAN: 1 << 20, WAN: 2}, Wasted: api.ByLink{LAN: 3, WAN: 54}}
	if err := u.Tell(strings.NewReader(text)); err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
	if err := u.Tell(strings.NewReader("<html>\n")); err == nil {
		t.Error("a page without metrics is read")
	}
}
