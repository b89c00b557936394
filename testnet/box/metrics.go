package box

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/node/api"
)

const (
	maxMetrics = 16 << 20 // bytes

	goroutines  = "go_goroutines"
	connections = `libp2p_rcmgr_connections{dir="%s",scope="system"}`
	fetched     = `p2pnode_delivered_bytes_total{link="%s"}`
	wasted      = `p2pnode_wasted_bytes_total{link="%s",`
)

// Tell notes what a node's metrics say of it, in the text format of Prometheus.
func (u *Usage) Tell(metrics io.Reader) error {
	found := map[string]float64{}
	var lost [3]float64 // of all reasons
	lines := bufio.NewScanner(io.LimitReader(metrics, maxMetrics))
	for lines.Scan() {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			found[series] = v
			for i, link := range links {
				if strings.HasPrefix(series, fmt.Sprintf(wasted, link)) {
					lost[i] += v
				}
			}
		}
	}
	if _, ok := found[goroutines]; !ok {
		return errors.Join(lines.Err(), fmt.Errorf("the node's metrics have no %s", goroutines))
	}
	u.Goroutines = int(found[goroutines])
	// A node that never had one of a direction doesn't name it.
	u.Connections = int(found[fmt.Sprintf(connections, "inbound")] + found[fmt.Sprintf(connections, "outbound")])
	of := func(i int) int64 { return int64(found[fmt.Sprintf(fetched, links[i])]) }
	u.Fetched = api.ByLink{LAN: of(0), WAN: of(1), Origin: of(2)}
	u.Wasted = api.ByLink{LAN: int64(lost[0]), WAN: int64(lost[1]), Origin: int64(lost[2])}
	return lines.Err()
}

// links are the link classes as metrics name them.
var links = [3]string{"lan", "wan", "origin"}
