package main

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// maxToken bounds what is read of a token's file, in bytes: a token with eight
// addresses has a tenth of it.
const maxToken = 16 << 10

func (a *app) joinCommand() *cobra.Command {
	var file string
	var o trust.EnrolOptions
	c := &cobra.Command{
		Use:     "join TOKEN",
		GroupID: groupStart,
		Short:   "Join the enterprise that invited this machine",
		Long: `Join the enterprise of an invite's TOKEN: make a key, and have it certified by
the node that issued the token. The token's secret is sent only to a node that
proves to belong to that enterprise.

No node may run on the data folder meanwhile. To join and run in one step, as a
service does: p2pnode run --join-file FILE`,
		Example: `  p2pnode join p2p1.AbC...
  p2pnode join --join-file token.txt
  p2pnode join --replace p2p1.AbC...    leave the enterprise that this folder is in`,
		Args: func(cmd *cobra.Command, got []string) error {
			if file != "" {
				return args()(cmd, got)
			}
			return args("the TOKEN, or --join-file FILE")(cmd, got)
		},
		RunE: func(cmd *cobra.Command, got []string) error {
			text := ""
			if len(got) > 0 {
				text = got[0]
			}
			t, err := a.token(text, file)
			if err != nil {
				return err
			}
			return a.join(cmd.Context(), t, o)
		},
	}
	c.Flags().SortFlags = false
	c.Flags().StringVar(&file, "join-file", "", "`FILE` that holds the token, - for stdin")
	c.Flags().StringVar(&o.Name, "name", "", "`NAME` that people are to call this node by (default the host's)")
	c.Flags().BoolVar(&o.Replace, "replace", false, "leave the enterprise that the folder is in; its identity is moved aside")
	return c
}

// token reads a token from text, or else from file. Files may be UTF-16, as
// PowerShell writes them: trust.ParseToken knows.
func (a *app) token(text, file string) (trust.Token, error) {
	if file != "" {
		in := a.in
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return trust.Token{}, api.Errorf(api.Usage, "Write the token of an invite to that file", "read the token: %w", err)
			}
			defer f.Close()
			in = f
		}
		b, err := io.ReadAll(io.LimitReader(in, maxToken+1))
		if err != nil {
			return trust.Token{}, fmt.Errorf("read the token: %w", err)
		}
		if len(b) > maxToken {
			return trust.Token{}, fmt.Errorf("read the token from %s: %w: it has more than %d bytes", file, trust.ErrToken, maxToken)
		}
		text = string(b)
	}
	return trust.ParseToken(text)
}

// An enrolment is what a folder belongs to now.
type enrolment struct {
	Enterprise string `json:"enterprise"`
	Peer       string `json:"peer"`
	Site       string `json:"site"`
	Name       string `json:"name,omitempty"`
	Data       string `json:"data"`
	// Already says that the folder had joined before.
	Already bool `json:"already"`
}

func (a *app) join(ctx context.Context, t trust.Token, o trust.EnrolOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Live(ctx); err == nil {
		return api.Errorf(api.Failed, "Stop that node first, or join in another folder: p2pnode join --data FOLDER TOKEN", "join: a node runs on %s", a.data)
	}
	e, err := enrol(ctx, a.data, t, o, a.warnLog())
	if err != nil {
		return err
	}
	return a.answer(e, func(w io.Writer) error {
		how := "joined"
		if e.Already {
			how = "had joined already:"
		}
		_, err := fmt.Fprintf(w, "%s enterprise %s  site %q  node %s %s\n%s\n", how, e.Enterprise, e.Site, e.Name, shortPeer(e.Peer), a.next("Run it: p2pnode run"))
		return err
	})
}

// enrol joins the token's enterprise in the folder dir. A folder that has joined
// it already is left as it is, whatever became of the token: a service's command
// line says --join for ever.
func enrol(ctx context.Context, dir string, t trust.Token, o trust.EnrolOptions, log *zap.Logger) (enrolment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return enrolment{}, fmt.Errorf("make the data folder: %w", err)
	}
	id, err := trust.Load(dir, trust.WithLog(log))
	if err == nil && id.Enterprise() == invitedTo(t) {
		e := describe(id, dir)
		e.Already = true
		return e, id.Close()
	}
	if err == nil {
		other := id.Enterprise()
		if err := id.Close(); err != nil {
			return enrolment{}, err
		}
		if !o.Replace {
			return enrolment{}, api.Errorf(api.NotPermitted, "Use another folder (--data), or leave that enterprise: p2pnode join --replace TOKEN",
				"join: %s belongs to enterprise %s", dir, other)
		}
	} else if !errors.Is(err, trust.ErrNoIdentity) && !(o.Replace && errors.Is(err, trust.ErrDamaged)) {
		return enrolment{}, err
	}
	if o.Name == "" {
		if name, err := os.Hostname(); err == nil && trust.CheckName(name) == nil {
			o.Name = name
		}
	}
	id, err = trust.Enrol(ctx, dir, t, o, trust.WithLog(log))
	if err != nil {
		return enrolment{}, fmt.Errorf("join: %w", err)
	}
	return describe(id, dir), id.Close()
}

// invitedTo returns the id of a token's enterprise, as Identity.Enterprise does.
func invitedTo(t trust.Token) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(t.Root[:10]))
}

func describe(id *trust.Identity, dir string) enrolment {
	c := id.Credential()
	return enrolment{Enterprise: id.Enterprise(), Peer: c.Peer.String(), Site: c.Site, Name: c.Name, Data: dir}
}

// joined returns the enterprise that the folder dir belongs to, "" if none yet.
func joined(dir string, log *zap.Logger) (string, error) {
	id, err := trust.Load(dir, trust.WithLog(log))
	switch {
	case errors.Is(err, trust.ErrNoIdentity):
		return "", nil
	case err != nil:
		return "", startError(err)
	}
	e := id.Enterprise()
	return e, id.Close()
}
