package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// Doctor implements api.Node: it looks at what a node stands on, from the bottom
// up, so that the first thing that fails is the one to mend.
func (l local) Doctor(ctx context.Context) ([]api.Check, error) {
	return []api.Check{
		l.checkFolder(), l.checkSpace(), l.checkContent(ctx), l.checkCredential(), l.checkClock(), l.checkProcess(), l.checkListen(),
		l.checkNeighbours(), l.checkPeers(ctx), l.checkDHT(ctx), l.checkRefusals(),
	}, nil
}

func check(name string, state api.State, next, format string, args ...any) api.Check {
	return api.Check{Name: name, State: state, Message: fmt.Sprintf(format, args...), Next: next}
}

func (l local) checkFolder() api.Check {
	probe := filepath.Join(l.cfg.Data, ".doctor")
	if err := os.WriteFile(probe, []byte("p2pnode"), 0o600); err != nil {
		return check("data folder", api.Fail, "Mend the folder's owner or mode, or the disk", "can't be written: %v", err)
	}
	if err := os.Remove(probe); err != nil {
		return check("data folder", api.Warn, "", "a file in it can't be removed: %v", err)
	}
	return check("data folder", api.OK, "", "%s can be written", l.cfg.Data)
}

func (l local) checkSpace() api.Check {
	if err := l.store.Low(); err != nil {
		return check("disk", api.Fail, makeRoom, "%v", err)
	}
	free, err := l.store.Free()
	if err != nil {
		return check("disk", api.Fail, "", "free space can't be read: %v", err)
	}
	return check("disk", api.OK, "", "%.1f GiB free", float64(free)/(1<<30))
}

// checkContent looks whether what is held is as it was.
func (l local) checkContent(ctx context.Context) api.Check {
	st, err := l.Status(ctx)
	if err != nil {
		return check("content", api.Fail, "", "%v", err)
	}
	for _, w := range st.Warnings {
		switch w.Code {
		case "changed-in-place", "disk-trouble", "damage":
			return check("content", api.Warn, w.Next, "%s", w.Message)
		}
	}
	n := st.Store.Contents
	return check("content", api.OK, "", "%d %s held, none known to be damaged", n, plural(n, "content is", "contents are"))
}

func (l local) checkCredential() api.Check {
	c := l.identity.Credential()
	left := c.NotAfter.Sub(l.identity.Clock().Now())
	half := c.NotAfter.Sub(c.NotBefore) / 3
	const next = "Make sure that the node that issues credentials can be reached: p2pnode peer ls"
	switch {
	case left <= 0:
		return check("credential", api.Fail, next, "ran out on %s", c.NotAfter.Format(time.DateTime))
	case left < half:
		return check("credential", api.Warn, next, "should have been renewed: it runs out on %s", c.NotAfter.Format(time.DateTime))
	}
	return check("credential", api.OK, "", "%s at site %s, %s, until %s", c.Name, c.Site, c.Roles, c.NotAfter.Format(time.DateTime))
}

func (l local) checkClock() api.Check {
	switch s := l.identity.Clock().State(); s {
	case trust.ClockGood:
		return check("clock", api.OK, "", "agrees with the enterprise's signed times")
	default:
		return check("clock", api.Warn, "Set the clock of this machine", "is %s", s)
	}
}

func (l local) checkProcess() api.Check {
	p := l.process()
	limit := "no limit of memory"
	if p.MemoryLimit > 0 {
		limit = fmt.Sprintf("%d of %d MiB of memory", p.Memory>>20, p.MemoryLimit>>20)
	}
	state, next := api.OK, ""
	switch p.Priority {
	case "mixed":
		state, next = api.Warn, "Restart the node; if it stays so, something else sets the priority of its threads"
	case "":
		p.Priority = "unknown"
	}
	return check("process", state, next, "priority %s, hashing on %d %s, %s", p.Priority, p.HashCores, plural(p.HashCores, "core", "cores"), limit)
}

func (l local) checkListen() api.Check {
	addrs := l.host.Network().ListenAddresses()
	if len(addrs) == 0 {
		return check("listening", api.Fail, "Give other addresses: p2pnode run --listen", "on no address")
	}
	tcp, quic := 0, 0
	for _, a := range addrs {
		if transportOf(a) == "quic" {
			quic++
		} else {
			tcp++
		}
	}
	if tcp == 0 {
		return check("listening", api.Warn, "Let it listen on TCP as well: p2pnode run --listen /ip4/0.0.0.0/tcp/4740", "on QUIC only, which costs several times the CPU")
	}
	return check("listening", api.OK, "", "on %d TCP and %d QUIC %s", tcp, quic, plural(tcp+quic, "address", "addresses"))
}

func (l local) checkNeighbours() api.Check {
	if l.mdns == nil {
		return check("neighbours", api.Warn, "Turn it on: p2pnode run --mdns auto", "are not looked for (mDNS is off)")
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return check("neighbours", api.Fail, "", "interfaces can't be listed: %v", err)
	}
	able := 0
	for _, i := range ifs {
		if i.Flags&(net.FlagUp|net.FlagMulticast) == net.FlagUp|net.FlagMulticast && i.Flags&net.FlagLoopback == 0 {
			able++
		}
	}
	if able == 0 {
		return check("neighbours", api.Warn, "", "no interface can multicast, so mDNS finds nobody")
	}
	return check("neighbours", api.OK, "", "are looked for by mDNS (UDP 5353 must be open)")
}

func (l local) checkPeers(ctx context.Context) api.Check {
	peers := l.host.Network().Peers()
	if len(peers) == 0 {
		next := "Let other machines join: the node that made the enterprise invites, they join with the token"
		if len(l.keeper.told)+len(l.keeper.book.peers()) > 0 {
			next = "Check that the known nodes run and that a firewall lets TCP and UDP 4740 through"
		}
		return check("peers", api.Warn, next, "none connected (%d known)", len(l.keeper.told)+len(l.keeper.book.peers()))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answered := 0
	for _, p := range peers[:min(len(peers), 4)] {
		if x, err := l.exchange.Session(ctx, p); err == nil {
			if _, err := x.Ping(ctx); err == nil {
				answered++
			}
		}
	}
	if answered == 0 {
		return check("peers", api.Fail, "See who: p2pnode peer ls", "%d connected, and none of those asked answered", len(peers))
	}
	return check("peers", api.OK, "", "%d connected, %d of %d asked answered", len(peers), answered, min(len(peers), 4))
}

func (l local) checkDHT(ctx context.Context) api.Check {
	s, err := l.dht.Stats(ctx)
	switch {
	case err != nil:
		return check("dht", api.Fail, "", "%v", err)
	case s.Servers == 0:
		return check("dht", api.Warn, "Connect to another node first: p2pnode peer ls", "no other server known: content can only be found at connected peers")
	}
	return check("dht", api.OK, "", "%d %s known, %d keys announced, %d waiting", s.Servers, plural(s.Servers, "server", "servers"), s.Keys, s.Pending)
}

func (l local) checkRefusals() api.Check {
	refused := l.admission.Refused()
	if len(refused) == 0 {
		return check("admission", api.OK, "", "nobody was refused lately")
	}
	last := refused[len(refused)-1]
	return check("admission", api.Warn, "See them: p2pnode peer ls --refused", "%d refused lately, the last: %s, %s", len(refused), last.Addr, last.Err)
}
