package inside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
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

// Outside tries to reach something outside of the box, and returns nil if the way
// there ends at the router, as it has to. Nothing leaves the box if it does.
func Outside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", nobody)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s answered: this container reaches the world outside", nobody), c.Close())
	case unreachable(err):
		return nil
	}
	return fmt.Errorf("nobody said that %s can't be reached, so a packet may have left the box: %w", nobody, err)
}
