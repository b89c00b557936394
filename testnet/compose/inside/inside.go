package inside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// ballast is the file that Fill makes and Empty removes.
const ballast = "ballast"

// Empty takes away what Fill put into the folder.
func Empty(dir string) error {
	if err := os.Remove(filepath.Join(dir, ballast)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("empty the disk: %w", err)
	}
	return nil
}

// A Usage is what the p2pnode of the container takes.
type Usage struct {
	CPU         time.Duration `json:"cpu_ns"`
	RSS         int64         `json:"rss"`
	PeakRSS     int64         `json:"peak_rss"`
	Descriptors int           `json:"descriptors"`
}

// nobody is an address that no network has (RFC 5737): what is sent there goes
// wherever the rest of the world is.
const nobody = "192.0.2.1:9"

// Outside tries to reach something outside of the box, and the machine that it is on
// by the address that Docker gives it in a network. It returns nil if neither can be
// reached, as it has to be. Nothing leaves the box if so.
func Outside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	machines, err := hosts()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, addr := range append(machines, nobody) {
		g.Go(func() error { return away(ctx, addr) })
	}
	return g.Wait()
}

// away returns nil if the kernel or a router says that addr can't be reached.
func away(ctx context.Context, addr string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", addr)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s answered: it is outside of the box", addr), c.Close())
	case unreachable(err):
		return nil
	}
	return fmt.Errorf("nobody said that %s can't be reached, so a packet may have left the box: %w", addr, err)
}

// hosts returns where the machine below would be in this container's networks: at
// the first address of each.
func hosts() ([]string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			all = append(all, net.JoinHostPort(p.Masked().Addr().Next().String(), "9"))
		}
	}
	return all, nil
}
