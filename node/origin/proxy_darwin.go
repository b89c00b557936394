package origin

import (
	"context"
	"os/exec"
	"time"
)

// readSystemProxy asks scutil, as the system's own functions are not to be had
// without cgo. Where it can't be asked there is no proxy.
var readSystemProxy = func() proxyFunc {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	printed, _ := exec.CommandContext(ctx, "/usr/sbin/scutil", "--proxy").Output()
	return parseScutil(string(printed))
}
