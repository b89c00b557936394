package meter

import (
	"context"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// busPatience bounds the question to a service that hangs.
const busPatience = time.Second

func readHost(ctx context.Context) State {
	s := State{Battery: readPowerSupply(os.DirFS("/sys/class/power_supply"))}
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return s // a server or a container without one
	}
	defer bus.Close()
	get := func(service, path, of, name string) (any, error) {
		var v dbus.Variant
		// A service that doesn't run is not started for us.
		err := bus.Object(service, dbus.ObjectPath(path)).
			CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, of, name).Store(&v)
		return v.Value(), err
	}
	s.Metered = meteredOnBus(get)
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		s.Idle = idleOnBus(get, time.Duration(now.Nano()))
	}
	return s
}
