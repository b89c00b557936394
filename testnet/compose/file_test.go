package compose

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// The file that lies here for readers is the one that is used.
func TestFileIsTheOneHere(t *testing.T) {
	const path = "docker-compose.yml"
	got := File(Default())
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s is not what the code writes now: UPDATE=1 go test ./testnet/compose", path)
	}
}

// awkward is a Setup with all that has to be written with care.
func awkward() Setup {
	s := Default()
	s.Plan.Branches, s.Plan.Peers, s.Plan.Disk = box.MaxBranches, 3, 64<<20
	s.Plan.Flags = []string{"--log-level", `a "quoted" $WORD: {x}`}
	s.Plan.Up = wan.Settings{Rate: 1e6, Reorder: true, Outages: []wan.Outage{{At: 1e9, For: 2e9, Every: 60e9}}}
	return s
}

// Whoever finds the window finds the Setup that it was started with.
func TestSetupIsReadBack(t *testing.T) {
	for _, s := range []Setup{Default(), awkward()} {
		got, err := read(s.text())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("read\n%+v\nwant\n%+v", got, s)
		}
	}
	for _, text := range []string{"", "{", `{"branches":1,"peers":1}`, `{"branches":1,"peers":1,"port":1,"up":"rate=x"}`} {
		if s, err := read(text); err == nil {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
}

// service is what is read of one of the file's.
type service struct {
	Command    []string
	Entrypoint []string
	Labels     map[string]string
	Ports      []string
	User       string
	CapDrop    []string `yaml:"cap_drop"`
	ReadOnly   bool     `yaml:"read_only"`
	Networks   any
}

// A file is YAML that says what the Setup does, whatever stands in that.
func TestFileIsRead(t *testing.T) {
	s := awkward()
	var f struct {
		Services map[string]service
		Networks map[string]struct {
			Labels     map[string]string
			DriverOpts map[string]string `yaml:"driver_opts"`
		}
		Volumes map[string]struct{ Labels map[string]string }
	}
	if err := yaml.Unmarshal([]byte(File(s)), &f); err != nil {
		t.Fatal(err)
	}
	if want := len(s.Plan.Places()) + len(s.Plan.Sites()) + 2; len(f.Services) != want {
		t.Errorf("%d services, want %d", len(f.Services), want)
	}
	for name, v := range f.Services {
		root := strings.HasPrefix(name, "router-")
		if v.Labels[label] == "" || !v.ReadOnly || len(v.CapDrop) != 1 || (v.User != "") != root {
			t.Errorf("%s: %+v: want a label, a read-only root, no capabilities by default, and root in routers only", name, v)
		}
		if (len(v.Ports) > 0) != (name == window) {
			t.Errorf("%s: ports %v: want them of the window only", name, v.Ports)
		}
		for _, p := range v.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to others", name, p)
			}
		}
	}
	got := f.Services["branch-z-3"].Command
	if want := append([]string{"/p2pnode", "run"}, "--log-level", `a "quoted" $$WORD: {x}`); !reflect.DeepEqual(got, want) {
		t.Errorf("branch-z-3 runs %q, want %q", got, want)
	}
	back, err := read(strings.ReplaceAll(f.Services[window].Labels[setup], "$$", "$"))
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("the window's label is read as %+v, %v; want %+v", back, err, s)
	}
	for name, n := range f.Networks {
		if n.Labels[label] == "" || n.DriverOpts["com.docker.network.bridge.enable_ip_masquerade"] != "false" {
			t.Errorf("network %s: %+v: want a label and no translation of addresses", name, n)
		}
		if host := n.DriverOpts["com.docker.network.bridge.inhibit_ipv4"] == "false"; host != (name == window) {
			t.Errorf("network %s: the host is on it: %v; it has to be on the window's, and on no other", name, host)
		}
	}
	for name, v := range f.Volumes {
		if v.Labels[label] == "" {
			t.Errorf("volume %s has no label: down wouldn't find it", name)
		}
	}
}

func TestRemovalSaysWhat(t *testing.T) {
	for want, r := range map[string]Removal{
		"nothing":                                {},
		"1 container, 2 networks":                {Containers: 1, Networks: 2},
		"3 volumes, 1 image, 1 temporary folder": {Volumes: 3, Images: 1, Folders: 1},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
