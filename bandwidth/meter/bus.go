package meter

import "time"

// Linux desktops tell of their users and networks on the system's D-Bus.

// A property reads one of an interface of a service on the bus.
type property func(service, path, of, name string) (any, error)

// idleOnBus asks logind, to which sessions say when their user is away. now is
// CLOCK_MONOTONIC.
func idleOnBus(get property, now time.Duration) Reading[time.Duration] {
	const service, path, how = "org.freedesktop.login1", "/org/freedesktop/login1", "logind IdleHint"
	hint, err := get(service, path, service+".Manager", "IdleHint")
	if err != nil {
		return Reading[time.Duration]{}
	}
	switch idle, ok := hint.(bool); {
	case !ok:
		return Reading[time.Duration]{}
	case !idle:
		return Read(time.Duration(0), how)
	}
	since, err := get(service, path, service+".Manager", "IdleSinceHintMonotonic")
	if err != nil {
		return Reading[time.Duration]{}
	}
	us, ok := since.(uint64)
	if !ok || us > uint64(now/time.Microsecond) {
		return Reading[time.Duration]{}
	}
	return Read(now-time.Duration(us)*time.Microsecond, how)
}

// meteredOnBus asks NetworkManager (NMMetered of its D-Bus reference).
func meteredOnBus(get property) Reading[bool] {
	const service = "org.freedesktop.NetworkManager"
	v, err := get(service, "/org/freedesktop/NetworkManager", service, "Metered")
	if err != nil {
		return Reading[bool]{}
	}
	switch v {
	case uint32(1):
		return Read(true, "NetworkManager")
	case uint32(2):
		return Read(false, "NetworkManager")
	case uint32(3):
		return Read(true, "NetworkManager's guess")
	case uint32(4):
		return Read(false, "NetworkManager's guess")
	}
	return Reading[bool]{}
}
