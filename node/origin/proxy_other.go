//go:build !windows && !darwin

package origin

// readSystemProxy is nil: these systems have their proxies in the environment.
var readSystemProxy func() proxyFunc
