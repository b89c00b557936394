package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
)

// fresh is how long an invite can be used: as long as one can be.
const fresh = 14 * 24 * time.Hour

// Invite writes a token for each of want, which are SITE=USES, into the folder to,
// by the name of the site. It waits for the node of the data folder of. What is
// there stays: the token of an earlier start is still good.
func Invite(ctx context.Context, of, to string, want []string, log io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer after %v", patience))
	defer cancel()
	for _, w := range want {
		site, number, _ := strings.Cut(w, "=")
		uses, err := strconv.Atoi(number)
		if err != nil || uses < 1 || site == "" || site != filepath.Base(site) {
			return fmt.Errorf("invite %q: want SITE=USES, as in branch-a=3", w)
		}
		path := filepath.Join(to, site)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		token, err := ask(ctx, of, site, uses)
		if err != nil {
			return fmt.Errorf("invite %d to %s: %w", uses, site, err)
		}
		// Whoever waits for the file shall never read half of it.
		if err := os.WriteFile(path+".new", []byte(token+"\n"), 0o600); err != nil {
			return fmt.Errorf("invite %d to %s: %w", uses, site, err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("invite %d to %s: %w", uses, site, err)
		}
		fmt.Fprintf(log, "invited %d to %s\n", uses, site)
	}
	return nil
}

func ask(ctx context.Context, dir, site string, uses int) (string, error) {
	c, err := api.NewClient(dir)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for {
		i, err := c.Invite(ctx, api.InviteRequest{Site: site, Uses: uses, Expires: api.Seconds(fresh)})
		if !errors.Is(err, api.ErrNotRunning) {
			return i.Token, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(again / 5):
		}
	}
}
