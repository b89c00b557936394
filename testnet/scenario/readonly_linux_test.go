//go:build netns

package scenario

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mount runs mount or umount. Who asks for the tag netns has to be root.
func mount(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

// ownDisk puts a folder on an ext4 file system of its own.
func ownDisk(t *testing.T, folder string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	mount(t, "truncate", "-s", "512M", image)
	mount(t, "mkfs.ext4", "-q", "-m", "0", image)
	mount(t, "mkdir", "-p", folder)
	mount(t, "mount", "-o", "loop", image, folder)
	t.Cleanup(func() { mount(t, "umount", "-l", folder) })
}

// A disk that becomes read-only while others fetch from it goes on being read by
// the same process, what has to be written fails with a reason, and once the disk
// takes writes so does the node (G32). The kernel refuses to do that to a disk with
// files open for writing; what the store does when its own writes are refused in
// the middle of a content is content/store's TestFaults.
func TestServesFromReadOnlyDisk(t *testing.T) {
	l := lab(t)
	ctx := within(t, 5*time.Minute)
	hub := l.Node("hub", nil, append(loopback(t), "--site", "hq")...)
	store := filepath.Join(hub.Data, "store")
	ownDisk(t, store)
	must(t, hub.Start(ctx))
	m := l.Node("member", nil, loopback(t)...)
	token, err := hub.Tell(ctx, "invite", "--site", "branch")
	must(t, err)
	must(t, m.Start(ctx, "--join", token))
	total := size(192*mib, 256*mib)
	path, out := sample(t, l, total), filepath.Join(l.Dir, "out.bin")
	id := publish(t, ctx, hub, path)
	pid := hub.Pid()

	get := fetchBehind(ctx, m, id, out)
	arrived(t, ctx, m, id, total/10)
	mount(t, "mount", "-o", "remount,ro", store)
	must(t, <-get.done)
	same(t, out, path)

	small := filepath.Join(l.Dir, "small.bin")
	must(t, Sample(small, mib, seed+1))
	if _, err := hub.Tell(ctx, "add", "-q", small); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("add to a disk that is read-only: %v", err)
	}
	_, err = hub.Tell(ctx, "status")
	must(t, err)
	_, err = fetch(ctx, hub, id, filepath.Join(l.Dir, "again.bin")) // the user is served too
	must(t, err)
	mount(t, "mount", "-o", "remount,rw", store)
	other := publish(t, ctx, hub, small)
	copied := filepath.Join(l.Dir, "copied.bin")
	_, err = fetch(ctx, m, other, copied)
	must(t, err)
	same(t, copied, small)
	if hub.Pid() != pid || !hub.Running() {
		t.Error("the node was started again")
	}
}
