package meter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const sysClassNet = "/sys/class/net"

// sysfs returns the interface's folder under root. A process may have a network
// of its own and the sysfs of another: then the folder is somebody else's, and
// there is none for us.
func (i Interface) sysfs(root string) (dir string, ok bool) {
	dir = filepath.Join(root, i.Name)
	is := func(name, want string) bool {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return err == nil && strings.TrimSpace(string(b)) == want
	}
	return dir, is("ifindex", strconv.Itoa(i.Index)) && (len(i.hardware) == 0 || is("address", i.hardware.String()))
}

// describe fills in what sysfs tells. Without it nothing is known.
func (i *Interface) describe() {
	if dir, ok := i.sysfs(sysClassNet); ok {
		i.Kind, i.Down = readSysfs(os.DirFS(dir))
		i.Up = i.Down
	}
}

// A Counter reads the bytes of one interface, cheaply enough for every 10 ms. It
// is not for two goroutines at once.
type Counter struct {
	name    string
	in, out *os.File
	all     *os.File // /proc/net/dev, where sysfs is not ours
	buf     []byte
}

// OpenCounter keeps open the files that are to be read.
func OpenCounter(i Interface) (*Counter, error) {
	return openCounter(i, sysClassNet, "/proc/thread-self/net/dev")
}

func openCounter(i Interface, sys, proc string) (*Counter, error) {
	if dir, ok := i.sysfs(sys); ok {
		in, err := os.Open(filepath.Join(dir, "statistics", "rx_bytes"))
		if err != nil {
			return nil, fmt.Errorf("count the bytes of %s: %w", i.Name, err)
		}
		out, err := os.Open(filepath.Join(dir, "statistics", "tx_bytes"))
		if err != nil {
			in.Close()
			return nil, fmt.Errorf("count the bytes of %s: %w", i.Name, err)
		}
		return &Counter{name: i.Name, in: in, out: out, buf: make([]byte, 32)}, nil
	}
	all, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("count the bytes of %s: %w", i.Name, err)
	}
	return &Counter{name: i.Name, all: all, buf: make([]byte, 4096)}, nil
}

// How tells where the counts are from.
func (c *Counter) How() string {
	if c.all != nil {
		return "/proc/net/dev"
	}
	return "sysfs statistics"
}

// Read returns the counts since the interface came up.
func (c *Counter) Read() (Bytes, error) {
	if c.all != nil {
		n, err := c.readAll()
		if err != nil {
			return Bytes{}, fmt.Errorf("count the bytes of %s: %w", c.name, err)
		}
		return parseNetDev(c.buf[:n], c.name)
	}
	in, err := c.readOne(c.in)
	if err != nil {
		return Bytes{}, fmt.Errorf("count the bytes of %s: %w", c.name, err)
	}
	out, err := c.readOne(c.out)
	if err != nil {
		return Bytes{}, fmt.Errorf("count the bytes of %s: %w", c.name, err)
	}
	return Bytes{in, out}, nil
}

func (c *Counter) readOne(f *os.File) (uint64, error) {
	n, err := f.ReadAt(c.buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return parseCount(c.buf[:n])
}

// readAll reads the whole of /proc/net/dev into buf, which grows to fit it.
func (c *Counter) readAll() (int, error) {
	for {
		n, err := c.all.ReadAt(c.buf, 0)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		c.buf = make([]byte, 2*len(c.buf))
	}
}

// Close closes the files.
func (c *Counter) Close() error {
	if c.all != nil {
		return c.all.Close()
	}
	return errors.Join(c.in.Close(), c.out.Close())
}
