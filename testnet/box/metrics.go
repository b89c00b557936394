package box

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxMetrics = 16 << 20 // bytes

	goroutines  = "go_goroutines"
	connections = `libp2p_rcmgr_connections{dir="%s",scope="system"}`
)

// Tell notes what a node's metrics say of it, in the text format of Prometheus.
func (u *Usage) Tell(metrics io.Reader) error {
	found := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(metrics, maxMetrics))
	for lines.Scan() {
		series, text, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			found[series] = v
		}
	}
	if _, ok := found[goroutines]; !ok {
		return errors.Join(lines.Err(), fmt.Errorf("the node's metrics have no %s", goroutines))
	}
	u.Goroutines = int(found[goroutines])
	// A node that never had one of a direction doesn't name it.
	u.Connections = int(found[fmt.Sprintf(connections, "inbound")] + found[fmt.Sprintf(connections, "outbound")])
	return lines.Err()
}
