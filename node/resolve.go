package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/trust"
)

const (
	// A name's newest release is the newest of what is heard within this time
	// from the first answer on: a peer on a satellite link answers within it.
	hearOut = 1500 * time.Millisecond
	// hearOthers is how long a version is asked for of which only others are known.
	hearOthers = 5 * time.Second
	// askTimeout bounds one question to one peer.
	askTimeout = 10 * time.Second
	// askAgain is how soon a peer that didn't know is asked again: it may be
	// about to publish.
	askAgain = 3 * time.Second
)

// A ref is what a person calls a content: its id, or a name and maybe a version.
type ref struct {
	id      content.ID
	name    string // empty: by id
	version string // empty: the newest
}

func parseRef(s string) (ref, error) {
	id, err := content.ParseID(s)
	if err == nil {
		return ref{id: id}, nil
	}
	name, version, versioned := strings.Cut(s, "@")
	r := ref{name: name, version: version}
	if !versioned {
		version = "1"
	}
	if err := checkRelease(name, version, "file"); err != nil {
		return ref{}, fmt.Errorf("%q is neither a content id nor NAME[@VERSION]: %w", s, err)
	}
	return r, nil
}

// checkRelease reports whether a release may be called so, whatever its content.
func checkRelease(name, version, kind string) error {
	return content.Release{
		Content: content.ID{1}, Name: name, Version: version, Type: kind, Sequence: 1, Published: time.Unix(1, 0).UTC(),
	}.Check()
}

func (r ref) String() string {
	switch {
	case r.name == "":
		return r.id.String()
	case r.version == "":
		return r.name
	}
	return r.name + "@" + r.version
}

// verifyRelease opens a release's envelope and checks that a publisher signed it.
func (n *Node) verifyRelease(envelope []byte) (signedRelease, error) {
	st, err := n.identity.Verify(envelope, releaseType, trust.Publisher)
	if err != nil {
		return signedRelease{}, fmt.Errorf("release: %w", err)
	}
	signer := st.Signers[0]
	r, err := content.DecodeRelease(st.Payload)
	if err != nil {
		return signedRelease{}, fmt.Errorf("release signed by %s: %w", signer.Name, err)
	}
	return signedRelease{Release: r, signer: signer, envelope: envelope}, nil
}

// releases returns those of a name which envelopes hold; the others are logged
// and dropped.
func (n *Node) releases(envelopes [][]byte, fits func(signedRelease) bool) []signedRelease {
	var out []signedRelease
	for _, e := range envelopes {
		r, err := n.verifyRelease(e)
		switch {
		case err != nil:
			n.log.Warn("release refused", zap.Error(err))
		case fits(r):
			n.identity.Recall(r.Name, r.Sequence, []trust.Credential{r.signer})
			out = append(out, r)
		}
	}
	return out
}

// stillValid returns those of the catalogue's releases that verify now too: a
// publisher may have been revoked since they were noted.
func (n *Node) stillValid(known []signedRelease) []signedRelease {
	envelopes := make([][]byte, len(known))
	for i, r := range known {
		envelopes[i] = r.envelope
	}
	return n.releases(envelopes, func(signedRelease) bool { return true })
}

// A versionError says that a name has no such version, as far as anybody knows.
type versionError struct {
	ref   ref
	known []string // versions, the newest first
}

func (e *versionError) Error() string {
	return fmt.Sprintf("nobody knows version %s of %s: there is %s", e.ref.version, e.ref.name, strings.Join(e.known, ", "))
}

func (e *versionError) Unwrap() error { return content.ErrNotFound }

// showVersions bounds the versions that an error names.
const showVersions = 10

// noVersion returns the error of a version that is none of those known.
func noVersion(r ref, known []signedRelease) error {
	known = slices.Clone(known)
	slices.SortFunc(known, func(a, b signedRelease) int { return cmp.Compare(b.Sequence, a.Sequence) })
	e := &versionError{ref: r}
	for _, k := range known {
		if !slices.Contains(e.known, k.Version) {
			e.known = append(e.known, k.Version)
		}
	}
	if len(e.known) > showVersions {
		e.known = append(e.known[:showVersions], "older ones")
	}
	return e
}

// resolve finds the release that a name stands for: among those here, and those
// that peers hold. ctx bounds how long it looks for a first one; a version that is
// none of those known is waited for as long only with patient, as it may be about
// to be published. Else the error is a versionError.
func (n *Node) resolve(ctx context.Context, r ref, patient bool, tried func(func() []string)) (signedRelease, error) {
	known := n.stillValid(n.catalogue.named(r.name))
	if best, err := pick(known, r.version); r.version != "" && err == nil {
		return best, nil // a version once published stays what it is
	}
	_, err := pick(known, r.version)
	heard, err := n.hear(ctx, r, hearing{haveSome: err == nil, haveOthers: len(known) > 0, patient: patient}, tried)
	all := slices.Concat(heard, known)
	if err != nil && len(all) == 0 {
		return signedRelease{}, err
	}
	best, err := pick(all, r.version)
	if errors.Is(err, content.ErrNotFound) && len(all) > 0 {
		return signedRelease{}, noVersion(r, all)
	}
	if err != nil {
		return signedRelease{}, err
	}
	if r.version != "" {
		return best, nil
	}
	// The newest of a name never goes back, across restarts too.
	if err := n.identity.Accept(best.Name, best.Sequence, best.Content); err != nil {
		return signedRelease{}, fmt.Errorf("%s %s (%s): %w", best.Name, best.Version, best.Content.Short(), err)
	}
	return best, nil
}

// A hearing says how long peers are asked.
type hearing struct {
	haveSome   bool // that fit: silence is no failure, and the while after the first begins now
	haveOthers bool // of the name
	patient    bool // others of the name are no reason to end
}

// hear asks peers for the releases of a name, until ctx ends or a while after the
// first that fits; after a longer one if there are only others.
func (n *Node) hear(ctx context.Context, r ref, how hearing, tried func(func() []string)) ([]signedRelease, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan []signedRelease)
	s := n.newScout(content.NameKey(r.name), func(ctx context.Context, x *exchange.Session) {
		n.askName(ctx, x, r, answers)
		select { // answered: of no more use, but not to be asked again either
		case <-ctx.Done():
		case <-x.Done():
		}
	})
	s.goFar() // a name is a few hundred bytes
	tried(s.Tried)
	var g errgroup.Group
	g.Go(func() error { return s.Run(ctx) })
	defer func() { cancel(); _ = g.Wait() }()

	var until <-chan time.Time
	fits, others := how.haveSome, how.haveOthers && !how.patient
	switch {
	case fits:
		until = time.After(hearOut)
	case others:
		until = time.After(hearOthers)
	}
	look := time.NewTicker(hearOut / 30)
	defer look.Stop()
	var heard []signedRelease
	asked := 0
	for {
		select {
		case <-ctx.Done():
			if len(heard) > 0 {
				return heard, nil
			}
			return nil, fmt.Errorf("no release of %s: %w", r, content.ErrNotFound)
		case <-until:
			return heard, nil
		case a := <-answers:
			asked++
			heard = append(heard, a...)
			_, err := pick(heard, r.version)
			switch {
			case !fits && !errors.Is(err, content.ErrNotFound):
				fits, until = true, time.After(hearOut)
			case !fits && !others && len(heard) > 0 && !how.patient:
				others, until = true, time.After(hearOthers)
			}
		case <-look.C:
			if until != nil && s.settled(asked) {
				return heard, nil
			}
		}
	}
}

// askName asks one peer until it knows the name, and the version if one is wanted.
// Its first answer goes to answers, without a release too, and the one that fits.
func (n *Node) askName(ctx context.Context, x *exchange.Session, r ref, answers chan<- []signedRelease) {
	for first := true; ; first = false {
		envelopes, err := n.askReleases(ctx, x, r.name)
		if err != nil && !errors.Is(err, content.ErrNotFound) {
			n.log.Debug("peer not asked", zap.Stringer("peer", x.Peer()), zap.Error(err))
		}
		known := n.releases(envelopes, func(k signedRelease) bool { return k.Name == r.name })
		_, none := pick(known, r.version)
		fits := !errors.Is(none, content.ErrNotFound)
		if first || fits {
			select {
			case <-ctx.Done():
				return
			case answers <- known:
			}
		}
		if fits || x.Err() != nil || !sleep(ctx, askAgain) {
			return
		}
	}
}

func (n *Node) askReleases(ctx context.Context, x *exchange.Session, name string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return x.Releases(ctx, name)
}
