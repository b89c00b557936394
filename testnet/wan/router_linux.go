package wan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A Router is an Emulator between a site's LAN and the WAN, in the network of the
// process that made it, and what makes a router of that: addresses, routes,
// forwarding. It answers a Control.
type Router struct {
	emulator *Emulator
	listener net.Listener
	undo     []func() error
}

// NewRouter sets it up. It answers once New has returned, and forwards once Run
// runs. It needs root, or CAP_NET_ADMIN and /dev/net/tun.
func NewRouter(cfg RouterConfig) (_ *Router, err error) {
	r := &Router{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	var from [2]string
	for i, own := range []netip.Prefix{cfg.LAN, cfg.WAN} {
		if from[i], err = interfaceOf(own); err != nil {
			return nil, err
		}
	}
	for _, route := range cfg.Routes {
		if err := AddRoute(route); err != nil {
			return nil, err
		}
	}
	if err := noDefault(); err != nil {
		return nil, err
	}
	r.emulator, err = New(Config{
		Ends:     [2]End{{Device: "link-lan", From: from[Forth]}, {Device: "link-wan", From: from[Back]}},
		Settings: cfg.Settings,
		Classes:  cfg.Classes,
		Seed:     cfg.Seed,
	})
	if err != nil {
		return nil, err
	}
	r.undo = append(r.undo, r.emulator.Close)
	if r.listener, err = listenControl(cfg.Control); err != nil {
		return nil, err
	}
	r.undo = append(r.undo, func() error { return ignoreClosed(r.listener.Close()) })
	return r, nil
}

// Run forwards packets and answers until the context ends, and then returns nil.
func (r *Router) Run(ctx context.Context) error {
	server := &http.Server{Handler: control(r.emulator), ReadTimeout: controlTimeout, WriteTimeout: controlTimeout, IdleTimeout: time.Minute}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.emulator.Run(ctx) })
	g.Go(func() error {
		if err := server.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve control: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}

// Close takes away what NewRouter made. Addresses, routes and forwarding stay: they
// go with the network they are in.
func (r *Router) Close() error {
	var errs []error
	for i := len(r.undo) - 1; i >= 0; i-- {
		errs = append(errs, r.undo[i]())
	}
	r.undo = nil
	return errors.Join(errs...)
}

// listenControl listens where an earlier router may have left its socket.
func listenControl(path string) (net.Listener, error) {
	there, err := os.Lstat(path)
	if err == nil {
		if there.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("listen for control: %s is there and no socket; give another path", path)
		}
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	// Whoever sees the folder may change the link: it is a test network's.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for control: %w", err), l.Close())
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// interfaceOf returns the interface in the subnet of own, and gives it that address
// if it hasn't got it.
func interfaceOf(own netip.Prefix) (name string, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("look for the interface of %v: %w", own.Masked(), err)
	}
	var seen []string
	var found *net.Interface
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			return "", fmt.Errorf("look for the interface of %v: %w", own.Masked(), err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			if p == own {
				return all[i].Name, nil
			}
			if p.Masked() == own.Masked() {
				found = &all[i]
			}
			seen = append(seen, all[i].Name+" "+p.String())
		}
	}
	if found == nil {
		return "", fmt.Errorf("no interface is in %v; there are %v", own.Masked(), seen)
	}
	if err := addAddr(found.Index, own); err != nil {
		return "", fmt.Errorf("give %v to %s: %w; in a container it needs --cap-add NET_ADMIN", own, found.Name, err)
	}
	return found.Name, nil
}

func addAddr(index int, own netip.Prefix) error {
	body := []byte{unix.AF_INET, byte(own.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	body = append(body, number(uint32(index))...)
	body = attribute(body, unix.IFA_LOCAL, own.Addr().AsSlice())
	body = attribute(body, unix.IFA_ADDRESS, own.Addr().AsSlice())
	return netlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body)
}

// AddRoute adds a route to this process's network namespace, in place of one that is
// there.
func AddRoute(r Route) error {
	body := []byte{unix.AF_INET, byte(r.To.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	body = attribute(body, unix.RTA_DST, r.To.Addr().AsSlice())
	body = attribute(body, unix.RTA_GATEWAY, r.Via.AsSlice())
	if err := netlink(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body); err != nil {
		return fmt.Errorf("route %v by way of %v: %w; in a container it needs --cap-add NET_ADMIN", r.To, r.Via, err)
	}
	return nil
}

// noDefault takes away the route that Docker gives every container. What is for none
// of the sites is answered with "unreachable", and leaves the box by no way.
func noDefault() error {
	body := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, 0, unix.RT_SCOPE_NOWHERE, 0, 0, 0, 0, 0}
	if err := netlink(unix.RTM_DELROUTE, 0, body); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("take away the default route: %w", err)
	}
	return nil
}
