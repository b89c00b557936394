//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// syncthing delivers a folder with one file. All know all others and their addresses
// from their configuration; nothing is asked of hosts beyond these. Before it is
// measured the source has hashed the file and everybody is connected and has the
// index, so that a get is nothing but the blocks: until then members are told to
// ignore the file. What costs CPU and brings nothing here is off (low priority, the
// weak hash), and members tell each other every second, not every five, what they
// have of it.
type syncthing struct {
	f        *field
	programs programs
	name     string
	sockets  string // a folder with a short name, which paths of sockets need
}

const (
	rawAddr = "raw-addr" // says the address of the machine that it runs on

	syncPort   = 22000
	syncKey    = "bench"
	syncFolder = "bench"

	syncReady = time.Minute // how long until all are connected
)

var deviceID = regexp.MustCompile(`[A-Z2-7]{7}(-[A-Z2-7]{7}){7}`)

func (s *syncthing) offer(ctx context.Context, path string) error {
	s.programs.begin(ctx)
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	s.sockets = dir
	s.programs.remove(dir)
	all := append([]box.Node{s.f.from}, s.f.to...)
	ids, addrs := make([]string, len(all)), make([]string, len(all))
	making, mctx := errgroup.WithContext(ctx)
	for i, n := range all {
		making.Go(func() (err error) {
			ids[i], addrs[i], err = s.prepare(mctx, n)
			return err
		})
	}
	if err := making.Wait(); err != nil {
		return err
	}
	s.name = filepath.Base(path)
	if err := os.Link(path, filepath.Join(s.folder(s.f.from), s.name)); err != nil {
		return err
	}
	for i, n := range all {
		if i > 0 { // not yet
			if err := os.WriteFile(filepath.Join(s.folder(n), ".stignore"), []byte("*\n"), 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(s.home(n), "config.xml"), []byte(s.config(n, ids, addrs)), 0o600); err != nil {
			return err
		}
		home := s.home(n)
		err := s.programs.start(n, []string{"HOME=" + home, "STMONITORED=yes"}, "syncthing", "serve", "--home="+home, "--no-browser", "--no-upgrade", "--no-restart")
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, syncReady, fmt.Errorf("syncthing: not all are connected and know the file after %v", syncReady))
	defer cancel()
	for _, n := range all {
		if err := s.ready(ctx, n, len(all)-1); err != nil {
			return err
		}
	}
	return nil
}

func (s *syncthing) home(n box.Node) string   { return n.Path("syncthing") }
func (s *syncthing) folder(n box.Node) string { return n.Path("syncthing-folder") }

// socket is where the API of a node's process is.
func (s *syncthing) socket(n box.Node) string { return filepath.Join(s.sockets, n.Name()) }

func (s *syncthing) prepare(ctx context.Context, n box.Node) (id, addr string, err error) {
	s.programs.remove(s.home(n), s.folder(n))
	if err := os.MkdirAll(filepath.Join(s.folder(n), ".stfolder"), 0o755); err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "syncthing", "generate", "--home="+s.home(n), "--no-default-folder", "--skip-port-probing")
	cmd.Env = append(os.Environ(), "HOME="+n.Path("."))
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("syncthing generate: %w: %s", err, text)
	}
	if id = deviceID.FindString(string(text)); id == "" {
		return "", "", fmt.Errorf("syncthing generate names no device: %s", text)
	}
	where, err := n.Tool(ctx, rawAddr).Output()
	return id, strings.TrimSpace(string(where)), err
}

func (s *syncthing) config(n box.Node, ids, addrs []string) string {
	var devices, members strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&devices, `<device id="%s" compression="never"><address>tcp://%s:%d</address></device>`+"\n", id, addrs[i], syncPort)
		fmt.Fprintf(&members, `<device id="%s"></device>`, id)
	}
	return fmt.Sprintf(`<configuration version="36">
<folder id="%s" path="%s" type="sendreceive" rescanIntervalS="0" fsWatcherEnabled="false">%s
<filesystemType>basic</filesystemType><weakHashThresholdPct>101</weakHashThresholdPct></folder>
%s<gui enabled="true" tls="false"><address>%s</address><unixSocketPermissions>0600</unixSocketPermissions><apikey>%s</apikey></gui>
<options><listenAddress>tcp://:%d</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
<startBrowser>false</startBrowser><urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH>
<crashReportingEnabled>false</crashReportingEnabled><stunServer></stunServer><reconnectionIntervalS>5</reconnectionIntervalS>
<progressUpdateIntervalS>1</progressUpdateIntervalS><setLowPriority>false</setLowPriority></options>
</configuration>
`, syncFolder, s.folder(n), members.String(), devices.String(), s.socket(n), syncKey, syncPort)
}

// ready waits until a node has so many connections, and the file is in its index.
func (s *syncthing) ready(ctx context.Context, n box.Node, others int) error {
	connected := func(text string) bool { return strings.Count(text, `"connected": true`) >= others }
	knows := func(text string) bool { return strings.Contains(text, `"name": "`+s.name+`"`) }
	for path, holds := range map[string]func(string) bool{
		"system/connections": connected,
		"db/file?folder=" + syncFolder + "&file=" + s.name: knows,
	} {
		for {
			text, err := s.ask(ctx, n, http.MethodGet, path, "")
			if err == nil && holds(text) {
				break
			}
			if serr := errors.Join(s.programs.failed(), sleep(ctx, 100*time.Millisecond)); serr != nil {
				return errors.Join(fmt.Errorf("%s: %w", n.Name(), serr), err)
			}
		}
	}
	return nil
}

// ask asks the API of a node's process.
func (s *syncthing) ask(ctx context.Context, n box.Node, method, path, body string) (string, error) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket(n))
	}}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://syncthing/rest/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return "", err
	}
	r.Header.Set("X-API-Key", syncKey)
	a, err := t.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("syncthing at %s: %s %s: %s: %s", n.Name(), method, path, a.Status, text)
	}
	return string(text), err
}

func (s *syncthing) get(ctx context.Context, to box.Node, out string) error {
	if _, err := s.ask(ctx, to, http.MethodPost, "db/ignores?folder="+syncFolder, `{"ignore": []}`); err != nil {
		return err
	}
	// It has its name once it is whole and flushed.
	path := filepath.Join(s.folder(to), s.name)
	if err := s.programs.appears(ctx, path); err != nil {
		return fmt.Errorf("%s: syncthing: %w", to.Name(), err)
	}
	return os.Link(path, out)
}

func (s *syncthing) here(context.Context, box.Node, string) (int64, error) {
	return 0, errors.ErrUnsupported
}
func (s *syncthing) crash(context.Context, box.Node) error              { return errors.ErrUnsupported }
func (s *syncthing) usage(context.Context) (usage, error)               { return s.programs.usage() }
func (s *syncthing) fetched(context.Context, box.Node) (fetched, error) { return fetched{}, nil }
func (s *syncthing) end() error                                         { return s.programs.end() }

func sayAddr(context.Context, []string) error {
	addr, err := ownAddr()
	if err == nil {
		_, err = fmt.Println(addr)
	}
	return err
}
