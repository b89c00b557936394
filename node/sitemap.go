package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// The map of sites as a file
//
// One file says for all nodes of an enterprise which networks belong to which site
// (site.ParseMap has its form). Whoever may write it decides whose WAN is spared, so an
// operator signs it, and a node believes no other, nor one that is older than what it
// had before. It comes to nodes however the rest of
// their configuration does, and a new one takes effect while they run.

const (
	sitesType  = "application/vnd.p2pnode.sites.v1+text" // DSSE payload type
	maxSiteMap = 64 << 10                                // bytes of the file: what an envelope may have
	sitesEvery = 5 * time.Second                         // how often the file is looked at
)

// openSites opens a signed map.
func openSites(id *trust.Identity, envelope []byte) (site.Map, trust.Statement, error) {
	st, err := id.Verify(envelope, sitesType, trust.Operator)
	if err != nil {
		if m, text := site.ParseMap(envelope); text == nil && m.Len() > 0 {
			err = errors.New("it is a map, but nobody signed it")
		}
		return site.Map{}, st, err
	}
	m, err := site.ParseMap(st.Payload)
	return m, st, err
}

// A sitesFile is the file of Config.SitesFile, as it was read last.
type sitesFile struct {
	mu     sync.Mutex
	size   int64
	mod    time.Time
	looked bool
	err    error // why what is there now isn't used
}

// read returns the map if the file has changed since it was read last. One that wasn't
// used is read again: the clock may be right by now, or the disk have room. changed says
// whether there is something else to tell than before.
func (f *sitesFile) read(path string, id *trust.Identity) (m site.Map, changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(path)
	switch {
	case err != nil:
		changed = f.err == nil || f.err.Error() != err.Error()
		f.err, f.looked = err, false
		return m, changed, err
	}
	before, same := f.err, f.looked && info.Size() == f.size && info.ModTime().Equal(f.mod)
	if same && before == nil {
		return m, false, nil
	}
	f.size, f.mod, f.looked = info.Size(), info.ModTime(), true
	m, f.err = readSites(path, id)
	again := same && f.err != nil && f.err.Error() == before.Error()
	return m, !again, f.err
}

func readSites(path string, id *trust.Identity) (site.Map, error) {
	file, err := os.Open(path)
	if err != nil {
		return site.Map{}, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxSiteMap+1))
	if err != nil {
		return site.Map{}, err
	}
	m, st, err := openSites(id, b)
	if err != nil {
		return site.Map{}, err
	}
	return m, id.AcceptSites(st.Signed, content.Sum(st.Payload))
}

// trouble returns why the file isn't used as it is; nil if it is.
func (f *sitesFile) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// loadSites has the file's map hold, if it has changed and is one. Else the last one
// that was goes on: a slip of the hand must not move a whole enterprise.
func (n *Node) loadSites() {
	m, changed, err := n.sites.read(n.cfg.SitesFile, n.identity)
	switch {
	case !changed:
	case err != nil:
		n.log.Warn("map of sites isn't used; what was known before holds", zap.String("file", n.cfg.SitesFile), zap.Error(err))
	default:
		n.log.Info("map of sites is read", zap.String("file", n.cfg.SitesFile), zap.Int("networks", m.Len()))
		n.site.SetMap(m)
	}
}

// watchSites looks at the file until ctx ends.
func (n *Node) watchSites(ctx context.Context) error {
	every := time.NewTicker(sitesEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
			n.loadSites()
		}
	}
}

// sitesWarning says that the map that was configured isn't used.
func (l local) sitesWarning() (api.Warning, bool) {
	if l.cfg.SitesFile == "" {
		return api.Warning{}, false
	}
	err := l.sites.trouble()
	if err == nil {
		return api.Warning{}, false
	}
	w := api.Warning{Code: "site-map", Message: "the map of sites isn't used: " + err.Error(), Next: "Sign it on an operator's node, and put it there: p2pnode site map sign FILE"}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		w.Next = "Put the file there, or see that this node may read it; it is read again by itself"
	}
	return w, true
}

// SignSites implements api.Node.
func (l local) SignSites(ctx context.Context, r api.SignSitesRequest) (api.SiteMap, error) {
	if c := l.identity.Credential(); !c.Roles.Has(trust.Operator) {
		return api.SiteMap{}, api.Errorf(api.NotPermitted, "Sign it on a node with the role operator, as the one that began the enterprise has: p2pnode status shows a node's roles", "this node may not sign a map of sites: it is %s", c.Roles)
	}
	m, err := site.ParseMap([]byte(r.Text))
	switch {
	case err != nil:
		return api.SiteMap{}, api.Errorf(api.Usage, "Mend the line, and sign it again", "%v", err)
	case m.Len() == 0:
		return api.SiteMap{}, api.Errorf(api.Usage, "Write a line for each network, like: 10.1.0.0/16 berlin", "the map has no network")
	}
	envelope, err := l.identity.Sign(sitesType, []byte(r.Text))
	if err != nil {
		return api.SiteMap{}, fmt.Errorf("sign the map of sites: %w", err)
	}
	return l.CheckSites(ctx, api.CheckSitesRequest{Envelope: envelope})
}

// CheckSites implements api.Node.
func (l local) CheckSites(_ context.Context, r api.CheckSitesRequest) (api.SiteMap, error) {
	m, st, err := openSites(l.identity, r.Envelope)
	if err != nil {
		return api.SiteMap{}, api.Errorf(api.Usage, "Sign the map on an operator's node: p2pnode site map sign FILE", "nodes of this enterprise wouldn't use this map of sites: %v", err)
	}
	out := api.SiteMap{Envelope: r.Envelope, Networks: m.Len(), Sites: m.Sites(), Signed: st.Signed}
	for _, c := range st.Signers {
		out.Signers = append(out.Signers, c.Name)
	}
	out.Here, _ = m.Of(ownNetworks(l.cfg.Network))
	return out, nil
}
