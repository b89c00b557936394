package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// defaultPort is the port that a node listens on if it may choose.
const defaultPort = "4740"

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "doctor",
		GroupID: groupStart,
		Short:   "Find out what is wrong",
		Long: `Check the node and what it stands on, from the bottom up: the first line that
fails is the one to mend. If no node runs, what can be checked without one is.
Exit code 1 if anything failed.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

func (a *app) doctor(ctx context.Context) error {
	checks, err := ask(a, func(c *api.Client) ([]api.Check, error) { return c.Doctor(ctx) })
	if errors.Is(err, api.ErrNotRunning) {
		checks, err = a.offline(err), nil
	}
	if err != nil {
		return err
	}
	failed := 0
	for _, c := range checks {
		if c.State == api.Fail {
			failed++
		}
	}
	if err := a.answer(api.List[api.Check]{Items: checks}, func(w io.Writer) error {
		for _, c := range checks {
			fmt.Fprintf(w, "%-4s  %-12s  %s\n", c.State, c.Name, c.Message)
			if c.Next != "" && c.State != api.OK {
				fmt.Fprintf(w, "      %-12s  %s\n", "", a.next(c.Next))
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if failed > 0 {
		return api.Errorf(api.Failed, "", "%s failed", count(failed, "check"))
	}
	return nil
}

// offline checks what can be checked while no node runs.
func (a *app) offline(why error) []api.Check {
	data := a.checkData()
	checks := []api.Check{data}
	if data.State == api.Fail {
		return checks // what stands in it can't be better
	}
	id, err := trust.Load(a.data, trust.WithLog(a.warnLog()))
	switch {
	case errors.Is(err, trust.ErrNoIdentity):
		checks = append(checks, api.Check{Name: "credential", State: api.OK, Message: "none yet: the first run makes an enterprise of one", Next: "Join one instead: p2pnode join TOKEN"})
	case err != nil:
		checks = append(checks, api.Check{Name: "credential", State: api.Fail, Message: err.Error(), Next: "Put the folder back from a backup, or join again: p2pnode join --replace TOKEN"})
	default:
		checks = append(checks, credentialCheck(id), clockCheck(id))
		if err := id.Close(); err != nil {
			checks = append(checks, api.Check{Name: "credential", State: api.Fail, Message: err.Error()})
		}
	}
	return append(checks, storeCheck(a.data), portCheck(), api.Check{Name: "node", State: api.Warn, Message: api.From(why).Message, Next: api.From(why).Next})
}

func (a *app) checkData() api.Check {
	c := api.Check{Name: "data folder", State: api.OK, Message: a.data + " can be written"}
	info, err := os.Stat(a.data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if writable(filepath.Dir(a.data)) {
			c.Message = a.data + " is not there yet, and can be made"
			return c
		}
		c.State, c.Message, c.Next = api.Fail, a.data+" is not there and can't be made", "Use a folder of your own: --data FOLDER"
	case err != nil:
		c.State, c.Message = api.Fail, err.Error()
	case !info.IsDir():
		c.State, c.Message, c.Next = api.Fail, a.data+" is no folder", "Use another: --data FOLDER"
	case !writable(a.data):
		c.State, c.Message, c.Next = api.Fail, a.data+" can't be written", "Mend its owner or mode, or use another: --data FOLDER"
	}
	return c
}

// storeCheck looks whether the place that the cache was moved to is there.
func storeCheck(data string) api.Check {
	dir, err := node.StoreDir(data)
	if err != nil {
		c := api.Check{Name: "cache", State: api.Fail, Message: err.Error()}
		if errors.Is(err, node.ErrNoStore) {
			c.Next = noStoreNext
		}
		return c
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return api.Check{Name: "cache", State: api.OK, Message: "none yet: the first run makes one"}
	}
	return api.Check{Name: "cache", State: api.OK, Message: "is at " + dir}
}

func credentialCheck(id *trust.Identity) api.Check {
	cred := id.Credential()
	until := cred.NotAfter.Sub(id.Clock().Now())
	c := api.Check{Name: "credential", State: api.OK,
		Message: fmt.Sprintf("enterprise %s, site %s, name %s, good for %s", id.Enterprise(), cred.Site, cred.Name, span(until))}
	if until <= 0 {
		c.State = api.Warn // it can be renewed after its end
		c.Message = fmt.Sprintf("ran out on %s", day(cred.NotAfter))
		c.Next = "It is renewed once the node reaches the one that issues credentials: p2pnode run"
	}
	return c
}

func clockCheck(id *trust.Identity) api.Check {
	c := api.Check{Name: "clock", State: api.OK, Message: time.Now().Format(time.RFC3339)}
	switch id.Clock().State() {
	case trust.ClockGood:
	case trust.ClockBehind:
		c.State, c.Message = api.Warn, c.Message+" is behind the enterprise's: signed time is used instead"
	default:
		c.State, c.Message = api.Warn, c.Message+" seems far ahead of the enterprise's"
	}
	if c.State != api.OK {
		c.Next = "Set the clock of this machine"
	}
	return c
}

// portCheck looks whether a node could listen where others expect it. It takes
// a free port otherwise, so this only warns.
func portCheck() api.Check {
	c := api.Check{Name: "port", State: api.OK, Message: defaultPort + " is free for TCP and UDP"}
	if ln, err := net.Listen("tcp", ":"+defaultPort); err != nil {
		c.State, c.Message = api.Warn, err.Error()
	} else {
		ln.Close()
	}
	if pc, err := net.ListenPacket("udp", ":"+defaultPort); err != nil {
		c.State, c.Message = api.Warn, err.Error()
	} else {
		pc.Close()
	}
	if c.State != api.OK {
		c.Next = "Choose another: p2pnode run --listen /ip4/0.0.0.0/tcp/PORT"
	}
	return c
}
