package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// askPublishers is how long a publisher waits for others to tell which releases
// of a name there are, before it numbers its own.
const askPublishers = 2 * time.Second

// Add implements api.Node.
func (l local) Add(ctx context.Context, r api.AddRequest, report func(api.Progress)) (api.AddResult, error) {
	if !l.identity.Credential().Roles.Has(trust.Publisher) {
		return api.AddResult{}, api.Errorf(api.NotPermitted, "Add it on a node with the role publisher: p2pnode status shows a node's roles", "this node may not publish")
	}
	if len(r.Paths) == 0 {
		return api.AddResult{}, api.Errorf(api.Usage, "p2pnode add PATH...", "nothing to add")
	}
	switch {
	case r.Unpack && len(r.Paths) > 1:
		return api.AddResult{}, api.Errorf(api.Usage, "p2pnode add --unpack FILE, one at a time", "%d archives can't be one content", len(r.Paths))
	case r.Unpack && r.Reference:
		return api.AddResult{}, api.Errorf(api.Usage, "Unpack it yourself, and add the folder with --reference", "what is in an archive can't be served from where it is")
	}
	from, err := l.probeOrigin(ctx, r)
	if err != nil {
		return api.AddResult{}, err
	}
	name := r.Name
	switch {
	case name == "" && from != nil:
		name = releaseName(from.Name)
	case name == "":
		name = releaseName(filepath.Base(r.Paths[0]))
	}
	kind := cmp.Or(r.Type, usualType(r))
	if err := checkRelease(name, cmp.Or(r.Version, "1"), kind); err != nil {
		return api.AddResult{}, api.Errorf(api.Usage, "Give another --name, --version or --type", "%w", err)
	}
	start := time.Now()
	var c *store.Content
	var made *published
	var fresh bool
	if from != nil {
		c, made, fresh, err = l.publishOrigin(ctx, r, from, kind, start, report)
	} else if err = checkThere(r.Paths); err == nil {
		c, made, fresh, err = l.publishFiles(ctx, r, kind, start, report)
	}
	if err != nil {
		return api.AddResult{}, explainAdd(err)
	}
	release, err := l.release(ctx, c, name, r.Version, kind)
	if err != nil {
		if fresh { // nothing is left behind
			err = errors.Join(err, l.store.Remove(c.ID()))
		}
		return api.AddResult{}, err
	}
	// Nobody else may have it yet, so it isn't a cache's to drop.
	if err := c.Pin(true); err != nil {
		return api.AddResult{}, err
	}
	l.exchange.Arrived()
	l.announceContent(c)
	elapsed := time.Since(start)
	res := api.AddResult{
		Content: c.ID().String(), Name: release.Name, Version: release.Version, Type: kind,
		Size: made.Manifest.Size(), New: made.New, Files: made.Files, Chunks: len(made.Manifest.Chunks),
		Signer: cmp.Or(release.signer.Name, release.signer.Peer.String()),
		Rate:   api.MeanRate(made.Manifest.Size(), elapsed), Elapsed: api.Seconds(elapsed),
	}
	res.InPlace = r.Reference && c.InPlace()
	if len(made.Manifest.Origins) > 0 {
		res.Origin, res.Remote = made.Manifest.Origins[0].URL, !c.Complete()
	}
	if t := made.Unpacked; t != nil {
		res.Unpacked, res.Skipped, res.SkippedList = t.Kind, t.Skipped, t.SkippedList
	} else {
		res.Skipped, res.SkippedList = made.Left.count, made.Left.shown
	}
	return res, nil
}

// usualType is the content type of what nobody gave one.
func usualType(r api.AddRequest) string {
	if r.Unpack || len(r.Paths) > 1 {
		return "folder"
	}
	if info, err := os.Stat(r.Paths[0]); err == nil && info.IsDir() {
		return "folder"
	}
	return "file"
}

// publishFiles makes a content of files and puts it into the store; fresh says
// that it wasn't there, not even in part.
func (n *Node) publishFiles(ctx context.Context, r api.AddRequest, kind string, start time.Time, report func(api.Progress)) (c *store.Content, made *published, fresh bool, err error) {
	var room *store.Reservation
	defer func() {
		if room != nil {
			room.Release()
		}
	}()
	// Asked once for files, and again and again for what is in an archive.
	reserve := func(size int64) (err error) {
		if room != nil {
			return room.More(size)
		}
		room, err = n.store.Reserve(size)
		return err
	}
	opt := publishOptions{
		Type: kind, Labels: r.Labels, Workers: n.cfg.Workers,
		SkipLinks: r.SkipLinks,
		Known:     n.store.Known,
		Pages:     max(0, n.cfg.pageBudget()),
		Room:      reserve,
		Cost:      n.store.Cost, FileCost: n.store.FileCost,
	}
	opt.Progress = func(phase string, done, total int64) {
		if phase == publishReads && room != nil {
			room.Wrote(done)
		}
		reader(phase, start, report)(done, total)
	}
	if r.Reference {
		return n.publishReferenced(ctx, r.Paths, opt)
	}
	stage, err := n.store.Stage()
	if err != nil {
		return nil, nil, false, err
	}
	defer stage.Abort() // nothing, once committed
	if r.Unpack {
		made, err = publishUnpacked(ctx, stage, r.Paths[0], r.SkipLinks, opt)
	} else {
		made, err = publish(ctx, stage, r.Paths, opt)
	}
	if err != nil {
		return nil, nil, false, err
	}
	_, held := n.store.Get(made.Encoded.ID)
	if c, err = stage.Commit(made.Encoded, made.Blocks); err != nil {
		return nil, nil, false, err
	}
	return c, made, !held, nil
}

// releaseName makes a name that a release may have of a file's.
func releaseName(base string) string {
	out := []byte(base)
	for i, c := range out {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			out[i] = '-'
		}
	}
	for len(out) > 0 && (out[0] == '-' || out[0] == '.') {
		out = out[1:]
	}
	if len(out) == 0 {
		return "content"
	}
	return string(out[:min(len(out), 128)])
}

// makeRoom is what to do where there is none.
const makeRoom = api.MakeRoom

// checkThere reports whether there is something at each path. What vanishes later
// is another matter.
func checkThere(paths []string) error {
	for _, p := range paths {
		if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) {
			return api.Errorf(api.Usage, "Give a file or folder of the machine that the node runs on", "add %s: it is not there", p)
		}
	}
	return nil
}

func explainAdd(err error) error {
	var told *api.Error
	switch {
	case errors.As(err, &told):
	case errors.Is(err, content.ErrChanged):
		return api.Errorf(api.Failed, "Add it again when nothing writes to it", "%w", err)
	case errors.Is(err, content.ErrNoSpace):
		return api.Errorf(api.NoSpace, makeRoom, "%w", err)
	case errors.Is(err, errNoFile):
		return api.Errorf(api.Usage, "Add what a link leads to, or leave out all links, devices and pipes of a folder: p2pnode add --skip-links FOLDER", "%w", err)
	case errors.Is(err, content.ErrPath):
		return api.Errorf(api.Usage, "Rename it or leave it out", "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.NotPermitted, "Let the user that runs the node read it", "%w", err)
	}
	return err
}

// release signs that a content is the next version of a name, unless this node
// has said just that before.
func (n *Node) release(ctx context.Context, c *store.Content, name, version, kind string) (signedRelease, error) {
	known := slices.Concat(n.catalogue.named(name), n.heardOf(ctx, name))
	var last uint64
	if seq, _, ok := n.identity.Seen(name); ok {
		last = seq
	}
	for _, r := range known {
		last = max(last, r.Sequence)
		switch {
		case r.Content == c.ID() && (version == "" || r.Version == version) && r.signer.Peer == n.host.ID() && r.Sequence == highest(known):
			return r, nil // said before
		case version != "" && r.Version == version && r.Content != c.ID():
			return signedRelease{}, api.Errorf(api.Usage, "Give another --version", "version %s of %s is %s already", version, name, r.Content.Short())
		}
	}
	next := content.Release{
		Content: c.ID(), Name: name, Version: version, Type: kind,
		Sequence: last + 1, Published: n.identity.Clock().Now().UTC().Truncate(time.Second),
	}
	if version == "" {
		next.Version = strconv.FormatUint(next.Sequence, 10)
	}
	payload, err := next.Encode()
	if err != nil {
		return signedRelease{}, err
	}
	envelope, err := n.identity.Sign(releaseType, payload)
	if err != nil {
		return signedRelease{}, fmt.Errorf("sign release of %s: %w", name, err)
	}
	// What comes back must be what goes out: a release nobody can verify would
	// be noticed at thousands of sites.
	r, err := n.verifyRelease(envelope)
	if err != nil {
		return signedRelease{}, fmt.Errorf("check own release of %s: %w", name, err)
	}
	if err := n.identity.Accept(name, r.Sequence, r.Content); err != nil {
		return signedRelease{}, err
	}
	if err := c.AddRelease(envelope); err != nil {
		return signedRelease{}, fmt.Errorf("keep release of %s: %w", name, err)
	}
	n.catalogue.add(r)
	return r, nil
}

func highest(all []signedRelease) uint64 {
	var n uint64
	for _, r := range all {
		n = max(n, r.Sequence)
	}
	return n
}

// heardOf asks the connected peers for the releases of a name.
func (n *Node) heardOf(ctx context.Context, name string) []signedRelease {
	if len(n.host.Network().Peers()) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askPublishers)
	defer cancel()
	heard, err := n.hear(ctx, ref{name: name}, hearing{haveSome: true}, func(func() []string) {})
	if err != nil {
		n.log.Debug("nothing heard of other releases", zap.String("name", name), zap.Error(err))
	}
	return heard
}

// Contents implements api.Node.
func (l local) Contents(context.Context) ([]api.Content, error) {
	all := l.store.List()
	out := make([]api.Content, 0, len(all))
	for _, c := range all {
		out = append(out, l.describe(c))
	}
	slices.SortFunc(out, func(a, b api.Content) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Added.Compare(b.Added), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (l local) describe(c *store.Content) api.Content {
	m := c.Manifest()
	d := api.Content{
		ID: c.ID().String(), Type: m.Type, Size: m.Size(), Here: c.Progress(), Files: countFiles(m),
		Chunks: len(m.Chunks), Complete: c.Complete(), Pinned: c.Pinned(), Damaged: c.Damaged(),
		InPlace: c.InPlace(), Added: c.Added(), Used: c.LastUsed(),
	}
	if known := l.catalogue.of(c.ID()); len(known) > 0 {
		d.Name, d.Version = known[0].Name, known[0].Version
	}
	return d
}

// Content implements api.Node.
func (l local) Content(_ context.Context, what string) (api.ContentDetail, error) {
	c, err := l.held(what)
	if err != nil {
		return api.ContentDetail{}, err
	}
	m := c.Manifest()
	d := api.ContentDetail{Content: l.describe(c), Labels: m.Labels}
	for _, r := range l.catalogue.of(c.ID()) {
		d.Releases = append(d.Releases, api.Release{Name: r.Name, Version: r.Version, Sequence: r.Sequence, Published: r.Published, Signer: cmp.Or(r.signer.Name, r.signer.Peer.String())})
	}
	_, changed := c.References()
	for _, err := range changed[:min(len(changed), api.ShowFiles)] {
		d.Changed = append(d.Changed, err.Error())
	}
	for _, o := range m.Origins[:min(len(m.Origins), api.ShowFiles)] {
		d.Origins = append(d.Origins, o.URL)
	}
	for _, f := range m.Files[:min(len(m.Files), api.ShowFiles)] {
		d.List = append(d.List, api.File{Path: f.Path, Size: f.Size, Mode: f.Mode.String(), ModTime: f.ModTime})
	}
	return d, nil
}

// held returns what a person means among the contents here.
func (l local) held(what string) (*store.Content, error) {
	r, err := parseRef(what)
	if err != nil {
		return nil, api.Errorf(api.Usage, "See what is here: p2pnode content ls", "%w", err)
	}
	id := r.id
	if r.name != "" {
		best, err := pick(l.catalogue.named(r.name), r.version)
		if err != nil {
			return nil, api.Errorf(api.NotFound, "See what is here: p2pnode content ls", "%s is not here: %w", what, err)
		}
		id = best.Content
	}
	c, ok := l.store.Get(id)
	if !ok {
		return nil, api.Errorf(api.NotFound, "See what is here: p2pnode content ls", "%s is not here", what)
	}
	return c, nil
}

// Remove implements api.Node.
func (l local) Remove(_ context.Context, what string) (api.Removed, error) {
	c, err := l.held(what)
	if err != nil {
		return api.Removed{}, err
	}
	for _, f := range l.fetches.all() {
		if f.id == c.ID() {
			return api.Removed{}, api.Errorf(api.Busy, "Stop the get first", "%s is being fetched", what)
		}
	}
	if l.gets.bring(c.ID()) {
		return api.Removed{}, api.Errorf(api.Busy, "Wait for the get, or stop it first", "%s is being written out", what)
	}
	r, err := l.remove(c)
	if err != nil {
		return api.Removed{}, fmt.Errorf("remove %s: %w", what, err)
	}
	return r, nil
}

// remove takes a content out of the store, the catalogue and the DHT.
func (l local) remove(c *store.Content) (api.Removed, error) {
	d, freed := l.describe(c), c.Occupies()
	if err := l.store.Remove(c.ID()); err != nil {
		return api.Removed{}, err
	}
	l.withdraw(c)
	return api.Removed{Content: d.ID, Name: d.Name, Version: d.Version, Freed: freed}, nil
}

// withdraw forgets a content that is gone from the store, and has others forget
// that it was here.
func (n *Node) withdraw(c *store.Content) {
	n.announcing.mu.Lock()
	keys := everyKey(content.Hash(c.ID()), n.announcing.holder)
	for _, name := range n.catalogue.remove(c.ID()) {
		keys = append(keys, everyKey(content.NameKey(name), n.announcing.holder)...)
	}
	for _, chunk := range c.Manifest().Chunks {
		if _, _, elsewhere := n.store.Find(chunk.Hash); !elsewhere {
			keys = append(keys, chunk.Hash)
		}
	}
	n.unannounce(keys)
	n.announcing.mu.Unlock()
	// Somebody may have brought it again meanwhile. Who has yet to does this after.
	if again, ok := n.store.Get(c.ID()); ok {
		for _, r := range n.releases(again.Releases(), func(r signedRelease) bool { return r.Content == c.ID() }) {
			n.catalogue.add(r)
		}
		n.announceContent(again)
	}
}

// Pin implements api.Node.
func (l local) Pin(_ context.Context, what string, pinned bool) (api.Content, error) {
	c, err := l.held(what)
	if err != nil {
		return api.Content{}, err
	}
	if err := c.Pin(pinned); err != nil {
		return api.Content{}, err
	}
	return l.describe(c), nil
}

// Verify implements api.Node.
func (l local) Verify(ctx context.Context, what string, report func(api.Progress)) (api.VerifyResult, error) {
	c, err := l.held(what)
	if err != nil {
		return api.VerifyResult{}, err
	}
	return l.verify(ctx, c, reader("verify", time.Now(), report))
}

func (l local) verify(ctx context.Context, c *store.Content, progress func(done, total int64)) (api.VerifyResult, error) {
	start, before := time.Now(), c.Progress()
	bad, err := c.Verify(ctx, progress)
	if err != nil {
		return api.VerifyResult{}, err
	}
	d := l.describe(c)
	r := api.VerifyResult{
		Content: d.ID, Name: d.Name, Version: d.Version, Checked: before, Bad: before - d.Here,
		Complete: d.Complete, Elapsed: api.Seconds(time.Since(start)),
	}
	for _, b := range bad {
		r.BadCount += onesCount(b.Blocks)
	}
	_, changed := c.References()
	r.Changed = len(changed)
	return r, nil
}

// reader returns a progress function that reports in the API's words.
func reader(phase string, start time.Time, report func(api.Progress)) func(done, total int64) {
	if report == nil {
		return func(int64, int64) {}
	}
	return func(done, total int64) {
		elapsed := time.Since(start)
		report(api.Progress{Phase: phase, Done: done, Total: total, Rate: api.MeanRate(done, elapsed), Elapsed: api.Seconds(elapsed)})
	}
}
