package compose

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// Names inside and outside of the containers.
const (
	image  = "p2pnode:testnet"
	label  = "p2pnode.testnet" // its value is what the thing is for
	setup  = label + ".setup"
	window = "window"

	windowPort = 8080 // inside
)

func routerOf(site string) string { return "router-" + site }

const header = `# The enterprise in a box: a publisher and an operator at HQ, and branches, each
# behind a router that emulates its link to the WAN. Kept to what docker-compose
# 1.29 and compose v2 both accept.
#
# This file is written by code: go run ./testnet up does all that follows, and can
# start more (--sites, --peers); docker-compose.yml in testnet/compose is what it
# starts by default (UPDATE=1 go test ./testnet/compose). By hand, from the top of the
# repository:
#
#	CGO_ENABLED=0 go build -o testnet/compose/image/ ./cmd/p2pnode ./testnet
#	docker build -t p2pnode:testnet testnet/compose/image
#	docker-compose -p p2pnode-testnet -f testnet/compose/docker-compose.yml up -d
#	docker-compose -p p2pnode-testnet -f testnet/compose/docker-compose.yml down -v --rmi all
#
# The window at http://127.0.0.1:PORT/ shows all nodes. It asks nobody who they are:
# whoever is on this machine may use it.
`

// File returns the compose file of a Setup.
func File(s Setup) string {
	f := &file{}
	f.WriteString(strings.Replace(header, "PORT", strconv.Itoa(s.Port), 1))
	f.add(`
x-machine: &machine
  image: %s
  init: true
  read_only: true
  cap_drop: [ALL]
  stop_grace_period: 10s

# A node's memory limit is what it would take by itself on a machine of 1 GiB; here
# it sees that of the host. Its health is asked every 10 s, because each answer is the
# start of a process, and these are many. NET_ADMIN is for whoever pulls the cable from
# outside, as root: p2pnode is another user, and has no capability.
x-node: &node
  <<: *machine
  cap_add: [NET_ADMIN]
  labels: {%s: node}
  environment: {P2PNODE_MEMORY_LIMIT: 128MiB}
  tmpfs: ["/tmp:uid=65532,gid=65532"]
  healthcheck: {test: ["CMD", "/p2pnode", "healthcheck"], interval: 10s, timeout: 5s, retries: 3}

# A router changes routes and makes the link's devices, and goes before other
# processes: on a busy machine the link would be late.
x-router: &router
  <<: *machine
  labels: {%s: router}
  user: "0:0"
  cap_add: [NET_ADMIN, SYS_NICE]
  devices: [/dev/net/tun]
  volumes: ["routers:/run/routers"]
  sysctls: {net.ipv4.ip_forward: "1", net.ipv4.conf.all.rp_filter: "0", net.ipv4.conf.default.rp_filter: "0"}

services:
`, image, label, label)
	places := s.Plan.Places()
	for _, p := range places {
		f.node(s.Plan, p)
	}
	for i := range s.Plan.Sites() {
		f.router(s.Plan, i)
	}
	f.invite(s.Plan)
	f.window(s, places)
	f.networks(s.Plan)
	f.volumes(s.Plan, places)
	return f.String()
}

type file struct{ strings.Builder }

func (f *file) add(format string, args ...any) { fmt.Fprintf(&f.Builder, format, args...) }

// list writes words as YAML, which takes JSON's; a $ would be a variable's.
func list(words ...string) string {
	b, err := json.Marshal(words)
	if err != nil {
		panic(err) // strings
	}
	return strings.ReplaceAll(strings.ReplaceAll(string(b), `","`, `", "`), "$", "$$")
}

func (f *file) node(p box.Plan, at box.Place) {
	run := []string{"/p2pnode", "run"}
	entry := []string{"/testnet", "endpoint", "--invite", "/invites/" + at.Site, "--"}
	volumes := []string{"data-" + at.Node + ":/data", "invites:/invites:ro"}
	if at.Node == box.Publisher {
		run = append(run, "--site", box.HQ)
		entry = []string{"/testnet", "endpoint", "--"}
		volumes = volumes[:1]
	}
	f.add("  %s:\n    <<: *node\n    container_name: %s\n    hostname: %s\n", at.Node, Container(at.Node), at.Node)
	f.add("    entrypoint: %s\n", list(entry...))
	f.add("    command: %s\n", list(append(run, p.Flags...)...))
	f.add("    volumes: %s\n", list(volumes...))
	f.add("    networks: {%s: {ipv4_address: %v}}\n", at.Site, at.Addr.Addr())
}

// lanAddr is where Docker puts the router of a site: it takes the gateway's address
// itself.
func lanAddr(site int) netip.Addr { return box.Gateway(site).Addr().Prev() }

func (f *file) router(p box.Plan, i int) {
	site := p.Sites()[i]
	up, down := p.Up, p.Down
	if i == 0 {
		up, down = p.HQUp, p.HQDown
	}
	words := []string{"/testnet", "router", "--site", site,
		"--gateway", box.Gateway(i).String(), "--wan", box.WANAddr(i).String(),
		"--up", up.String(), "--down", down.String(), "--seed", strconv.FormatUint(p.Seed+2*uint64(i), 10), // each direction has one
		"--control", "/run/routers/" + site}
	for j := range p.Sites() {
		if j != i {
			words = append(words, "--route", fmt.Sprintf("%v=%v", box.Subnet(j), box.WANAddr(j).Addr()))
		}
	}
	f.add("  %s:\n    <<: *router\n    container_name: %s\n", routerOf(site), Container(routerOf(site)))
	f.add("    entrypoint: %s\n", list(words...))
	f.add("    networks: {%s: {ipv4_address: %v}, wan: {ipv4_address: %v}}\n", site, lanAddr(i), box.WANAddr(i).Addr())
}

// invite ends once it has written the tokens.
func (f *file) invite(p box.Plan) {
	words := []string{"/testnet", "invite", "--of", "/publisher/node", "--to", "/invites", box.HQ + "=1"}
	for i := range p.Branches {
		words = append(words, fmt.Sprintf("%s=%d", box.Branch(i), p.Peers))
	}
	f.add("  invite:\n    <<: *machine\n    container_name: %s\n    labels: {%s: invite}\n    network_mode: none\n", Container("invite"), label)
	f.add("    entrypoint: %s\n", list(words...))
	f.add("    volumes: %s\n", list("data-"+box.Publisher+":/publisher:ro", "invites:/invites"))
}

func (f *file) window(s Setup, places []box.Place) {
	text, err := json.Marshal(s.text())
	if err != nil {
		panic(err) // a string
	}
	words := []string{"/testnet", "window", "--nodes", "/nodes", "--routers", "/run/routers", "--listen", fmt.Sprintf(":%d", windowPort), "--sites", strings.Join(s.Plan.Sites(), ",")}
	volumes := []string{"routers:/run/routers:ro"}
	for _, p := range places {
		volumes = append(volumes, fmt.Sprintf("data-%s:/nodes/%s:ro", p.Node, p.Node))
	}
	f.add("  %s:\n    <<: *machine\n    container_name: %s\n    labels: {%s: window, %s: %s}\n", window, Container(window), label, setup, strings.ReplaceAll(string(text), "$", "$$"))
	f.add("    entrypoint: %s\n", list(words...))
	f.add("    ports: [\"127.0.0.1:%d:%d\"]\n", s.Port, windowPort)
	f.add("    volumes:\n")
	for _, v := range volumes {
		f.add("      - %s\n", v)
	}
	f.add("    networks: [%s]\n", window)
}

// The window's network is beside those of the enterprise.
var windowNet = netip.MustParsePrefix("10.77.255.0/24")

func (f *file) networks(p box.Plan) {
	f.add("\n# DefaultGatewayIPv4 is where containers lead what is for others: their router. On the\n# last two networks nobody has that address. Nothing is translated to an address of\n# the host's, and the host has none on them, except for the window.\nnetworks:\n")
	one := func(name string, subnet netip.Prefix, gateway netip.Addr, host bool) {
		f.add("  %s:\n    labels: {%s: network}\n    driver: bridge\n", name, label)
		f.add("    driver_opts: {com.docker.network.bridge.enable_ip_masquerade: \"false\", com.docker.network.bridge.inhibit_ipv4: \"%v\"}\n", !host)
		f.add("    ipam: {config: [{subnet: %v, aux_addresses: {DefaultGatewayIPv4: %v}}]}\n", subnet, gateway)
	}
	for i, site := range p.Sites() {
		one(site, box.Subnet(i), box.Gateway(i).Addr(), false)
	}
	one("wan", box.WAN(), box.Gateway(-1).Addr(), false)
	one(window, windowNet, last(windowNet), true)
}

// last returns the last address but one: that of the broadcast is behind it.
func last(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	a[3] = 254
	return netip.AddrFrom4(a)
}

func (f *file) volumes(p box.Plan, places []box.Place) {
	f.add("\nvolumes:\n  invites: {labels: {%s: volume}}\n", label)
	f.add("  routers: {labels: {%s: volume}}\n", label)
	for _, at := range places {
		disk := ""
		if p.Disk > 0 && at.Site != box.HQ {
			// It lasts as long as some container has it: the window does.
			disk = fmt.Sprintf(", driver_opts: {type: tmpfs, device: tmpfs, o: \"size=%d,uid=65532,gid=65532,mode=0755\"}", p.Disk)
		}
		f.add("  data-%s: {labels: {%s: volume}%s}\n", at.Node, label, disk)
	}
}
