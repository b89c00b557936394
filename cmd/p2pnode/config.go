package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/pflag"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/gateway"
	"github.com/p2pnode/p2pnode/node/origin"
	"github.com/p2pnode/p2pnode/node/trust"
)

// settings are what run can be told, however it was.
type settings struct {
	node                node.Config
	logLevel, logFormat string
	priority            string
	proxy               string
	memory              int64   // of this process; 0: the default, -1: no limit
	memoryShare         float64 // or as a share of the machine's

	from map[string]given // by key, of those that were given
}

// A setting is one line of the table of what can be configured. Its key in files
// is the flag of run with dots in place of dashes, and its environment variable is
// P2PNODE_ and the flag in capitals: cache.quota, --cache-quota,
// P2PNODE_CACHE_QUOTA. So a new one takes a line here, and a field in settings or
// node.Config that it fills; flags, files, help, schema and node/README.md follow
// (the last with UPDATE=1 go test ./cmd/p2pnode).
type setting struct {
	key     string
	kind    string // what its value is called
	builtin string // the default, as one would say it
	doc     string
	example string                        // a value that is not the default
	value   func(s *settings) pflag.Value // where it goes; Set is called for each of a list
	reset   func(s *settings)             // empties a list
}

var keyTable = []setting{
	{key: "site", kind: "SITE", builtin: "that of its credential", example: "berlin",
		doc:   "the site of this node, whatever its invite said; a node that starts an enterprise is at \"default\"",
		value: func(s *settings) pflag.Value { return textValue{&s.node.Site, trust.CheckSite} }},
	{key: "sites", kind: "FILE", builtin: "none", example: "/etc/p2pnode/sites.signed",
		doc:   "the enterprise's map from networks to sites, made by p2pnode site map sign: says at which site this node is unless site does; read again when it changes",
		value: func(s *settings) pflag.Value { return fileValue{&s.node.SitesFile} }},
	{key: "region", kind: "REGION", builtin: "none", example: "emea",
		doc:   "a name for the sites around this one, to look there first for what this site lacks; all nodes of a site are to have the same",
		value: func(s *settings) pflag.Value { return textValue{&s.node.Region, trust.CheckSite} }},
	{key: "name", kind: "NAME", builtin: "the host's name", example: "till-7",
		doc:   "what people call this node",
		value: func(s *settings) pflag.Value { return textValue{&s.node.Name, trust.CheckName} }},
	{key: "listen", kind: "MULTIADDR", builtin: "port 4740, TCP and QUIC, all interfaces", example: "/ip4/0.0.0.0/tcp/4740",
		doc:   "addresses to listen on",
		value: func(s *settings) pflag.Value { return addrValue{&s.node.Listen, false} }, reset: func(s *settings) { s.node.Listen = nil }},
	{key: "bootstrap", kind: "MULTIADDR", builtin: "none", example: "/ip4/10.0.0.5/tcp/4740/p2p/12D3KooWS9ubtKDSx3x25p8KNxav5VAGgH2cqjfKiu1TuzgfLtR1",
		doc:   "members to meet first, with /p2p/ID at the end",
		value: func(s *settings) pflag.Value { return addrValue{&s.node.Bootstrap, true} }, reset: func(s *settings) { s.node.Bootstrap = nil }},
	{key: "mdns", kind: "WHERE", builtin: "auto", example: "eth0",
		doc:   "where to look for neighbours by mDNS: auto, off, or names of interfaces",
		value: func(s *settings) pflag.Value { return wordsValue{&s.node.MDNS} }, reset: func(s *settings) { s.node.MDNS = nil }},
	{key: "cache.quota", kind: "SIZE|SHARE", builtin: "10%, or 10GiB if that is more", example: "50GiB",
		doc:   "what content may take of the disk: a size, a share of the disk, or none for no limit",
		value: func(s *settings) pflag.Value { return quotaFlag{&s.node.CacheQuota, &s.node.CacheQuotaShare} }},
	{key: "cache.floor", kind: "SIZE", builtin: "10% of the disk, or 5GiB if that is less", example: "2GiB",
		doc:   "what stays free of the disk, whatever the quota says; none for nothing",
		value: func(s *settings) pflag.Value { return limitFlag{&s.node.CacheFloor} }},
	{key: "cache.pages", kind: "SIZE", builtin: "256MiB, or 1/16 of the memory if that is less", example: "64MiB",
		doc:   "how much of the system's page cache reading and publishing content may fill; none for no limit",
		value: func(s *settings) pflag.Value { return limitFlag{&s.node.PageBudget} }},
	{key: "scrub.period", kind: "TIME", builtin: "30d", example: "7d",
		doc:   "the time in which everything held is read again and checked",
		value: func(s *settings) pflag.Value { return timeFlag{&s.node.ScrubPeriod} }},
	{key: "scrub.rate", kind: "RATE", builtin: "8MiB/s", example: "2MiB/s",
		doc:   "how fast that reads at most; none for no limit",
		value: func(s *settings) pflag.Value { return bytesRateValue{&s.node.ScrubRate} }},
	{key: "hash.cores", kind: "SHARE", builtin: "50%", example: "1",
		doc:   "how much of the processor hashing may take: a share, or a number of cores",
		value: func(s *settings) pflag.Value { return coresValue{&s.node.Workers} }},
	{key: "memory.limit", kind: "SIZE|SHARE", builtin: "64MiB; more if more is in use for long, up to 1/8 of the machine's or 128MiB", example: "256MiB",
		doc:   "how much memory the program tries to keep to: a size, a share of the machine's, or none for no limit",
		value: func(s *settings) pflag.Value { return quotaFlag{&s.memory, &s.memoryShare} }},
	{key: "priority", kind: "WORD", builtin: "low", example: "normal",
		doc:   "low to let other programs have processor and disk first, or normal",
		value: func(s *settings) pflag.Value { return choice{&s.priority, []string{"low", "normal"}} }},
	{key: "gateway", kind: "HOST:PORT", builtin: "none", example: "127.0.0.1:4741",
		doc:   "where contents are served over HTTP, to this machine; any:HOST:PORT lets others reach it, who read everything without a credential",
		value: func(s *settings) pflag.Value { return gatewayValue{&s.node.Gateway, &s.node.GatewayAny} }},
	{key: "wan", kind: "WORD", builtin: node.WANMesh, example: node.WANHub,
		doc: "whom the site asks for what it lacks: mesh for every other site, hub for publishers alone, origin-only for no node at another site, only HTTP servers",
		value: func(s *settings) pflag.Value {
			return choice{&s.node.WAN, []string{node.WANMesh, node.WANHub, node.WANOrigin}}
		}},
	{key: "seeds", kind: "PATH", builtin: "none", example: "/opt/pos",
		doc:   "files and folders of this machine, as of an installed older version, in which every get looks for what it can take from",
		value: func(s *settings) pflag.Value { return pathsValue{&s.node.Seeds} }, reset: func(s *settings) { s.node.Seeds = nil }},
	{key: "origin.proxy", kind: "URL", builtin: "HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment, else the system's settings", example: "http://proxy.example:3128",
		doc:   "the proxy to HTTP servers that content can be had from; none to ask them directly",
		value: func(s *settings) pflag.Value { return proxyValue{&s.proxy, &s.node.Origin.Proxy} }},
	{key: "origin.allow", kind: "SERVER", builtin: "all, on private networks too, but none at a link-local or a cloud's metadata address, and this machine only as localhost", example: ".files.example",
		doc:   "the only HTTP servers that content may be fetched from: names, .DOMAIN for all below it, addresses, networks as 10.0.0.0/8; none for none",
		value: func(s *settings) pflag.Value { return serversValue{&s.node.Origin.Allow} }, reset: func(s *settings) { s.node.Origin.Allow = nil }},
	{key: "log.level", kind: "LEVEL", builtin: "info", example: "warn",
		doc:   "the least that is logged: debug, info, warn or error",
		value: func(s *settings) pflag.Value { return choice{&s.logLevel, []string{"debug", "info", "warn", "error"}} }},
	{key: "log.format", kind: "FORMAT", builtin: "auto", example: "json",
		doc:   "how it is logged: text, json or auto, which is text on a terminal",
		value: func(s *settings) pflag.Value { return choice{&s.logFormat, []string{"auto", "text", "json"}} }},
}

func (s setting) flag() string { return strings.ReplaceAll(s.key, ".", "-") }

func (s setting) variable() string {
	return "P2PNODE_" + strings.ToUpper(strings.ReplaceAll(s.flag(), "-", "_"))
}

func (s setting) list() bool { return s.reset != nil }

// usage is what help says of the flag.
func (s setting) usage() string {
	u := s.doc
	if s.list() {
		u += "; may be repeated"
	}
	return u + " (default " + s.builtin + ")"
}

// given is a setting's value as it was given, and where.
type given struct {
	setting *setting
	texts   []string
	origin  string            // for people: --site, P2PNODE_SITE, /etc/p2pnode/config.yaml:3
	fault   func(error) error // wraps what is wrong with the value
}

// apply fills in one value.
func (s *settings) apply(g given) error {
	if g.setting.list() {
		g.setting.reset(s)
	}
	v := g.setting.value(s)
	for _, text := range g.texts {
		if err := v.Set(text); err != nil {
			return g.fault(err)
		}
	}
	if s.from == nil {
		s.from = make(map[string]given)
	}
	s.from[g.setting.key] = g
	return nil
}

// origin says where a key's value is from.
func (s *settings) origin(key string) string {
	if g, ok := s.from[key]; ok {
		return g.origin
	}
	return "built-in"
}

// A flagText is a flag of run: it keeps what was given until all sources are
// known.
type flagText struct {
	setting *setting
	texts   []string
}

func (f *flagText) String() string { return "" }
func (f *flagText) Type() string   { return f.setting.kind }
func (f *flagText) Set(text string) error {
	if !f.setting.list() {
		f.texts = nil
	}
	f.texts = append(f.texts, text)
	return nil
}

// settingFlags adds the table's flags.
func settingFlags(to *pflag.FlagSet) {
	for i := range keyTable {
		s := &keyTable[i]
		to.Var(&flagText{setting: s}, s.flag(), s.usage())
	}
	to.String("config", "", "configuration `FILE`, or none (default config.yaml in the data folder, else "+shownConfigFile()+")")
}

// resolve returns what is to be, of all that was said: a flag counts above the
// environment, that above files (see config_file.go), those above what is built
// in.
func (a *app) resolve(flags *pflag.FlagSet) (*settings, error) {
	s := &settings{node: node.Config{Data: a.data}, logLevel: "info", logFormat: "auto", priority: "low"}
	files, err := a.configFiles(flags)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		all, err := readConfig(name)
		if err != nil {
			return nil, err
		}
		for _, g := range all {
			if err := s.apply(g); err != nil {
				return nil, err
			}
		}
	}
	for i := range keyTable {
		if g, ok := fromVariable(&keyTable[i], a.env); ok {
			if err := s.apply(g); err != nil {
				return nil, err
			}
		}
	}
	for i := range keyTable {
		f := flags.Lookup(keyTable[i].flag())
		if f == nil || !f.Changed {
			continue
		}
		if err := s.apply(fromFlag(f)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func fromVariable(s *setting, env func(string) (string, bool)) (given, bool) {
	name := s.variable()
	text, ok := env(name)
	if !ok || text == "" {
		return given{}, false
	}
	texts := []string{text}
	if s.list() {
		texts = strings.Fields(text)
	}
	return given{s, texts, name, func(err error) error { return usageError{fmt.Errorf("%s: %w", name, err)} }}, true
}

func fromFlag(f *pflag.Flag) given {
	v := f.Value.(*flagText)
	name := "--" + f.Name
	return given{v.setting, v.texts, name, func(err error) error { return usageError{fmt.Errorf("%s: %w", name, err)} }}
}

// Values of settings, beside those in units.go.
type (
	textValue struct {
		to    *string
		check func(string) error
	}
	fileValue struct{ to *string }
	choice    struct {
		to    *string
		words []string
	}
	wordsValue struct{ to *[]string }
	addrValue  struct {
		to   *[]ma.Multiaddr
		peer bool // has to end in /p2p/ID
	}
	gatewayValue struct {
		to  *string
		any *bool
	}
	pathsValue struct{ to *[]string }
	proxyValue struct {
		text *string
		to   *func(*http.Request) (*url.URL, error)
	}
	serversValue   struct{ to *[]origin.Pattern }
	coresValue     struct{ to *int }
	bytesRateValue struct{ to *int64 }
)

func (v textValue) String() string { return *v.to }
func (v textValue) Type() string   { return "TEXT" }
func (v textValue) Set(s string) error {
	*v.to = s
	return v.check(s)
}

func (v fileValue) String() string { return *v.to }
func (v fileValue) Type() string   { return "FILE" }
func (v fileValue) Set(s string) error {
	if s == "" {
		return errors.New("want the path of a file")
	}
	path, err := filepath.Abs(s)
	*v.to = path
	return err
}

func (v choice) String() string { return *v.to }
func (v choice) Type() string   { return "WORD" }
func (v choice) Set(s string) error {
	if !slices.Contains(v.words, s) {
		return fmt.Errorf("%q: want %s or %s", s, strings.Join(v.words[:len(v.words)-1], ", "), v.words[len(v.words)-1])
	}
	*v.to = s
	return nil
}

func (v wordsValue) String() string { return strings.Join(*v.to, ",") }
func (v wordsValue) Type() string   { return "WORDS" }
func (v wordsValue) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word == "" {
			return fmt.Errorf("%q: a name is empty", s)
		}
		*v.to = append(*v.to, word)
	}
	return nil
}

func (v addrValue) String() string { return fmt.Sprint(*v.to) }
func (v addrValue) Type() string   { return "MULTIADDR" }
func (v addrValue) Set(s string) error {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return fmt.Errorf("%s: %w (want a multiaddr, as /ip4/0.0.0.0/tcp/4740)", s, err)
	}
	if _, err := m.ValueForProtocol(ma.P_P2P); v.peer && err != nil {
		return fmt.Errorf("%s: want /p2p/ID at its end, as in /ip4/10.0.0.5/tcp/4740/p2p/ID", s)
	}
	*v.to = append(*v.to, m)
	return nil
}

func (v gatewayValue) String() string { return *v.to }
func (v gatewayValue) Type() string   { return "HOST:PORT" }
func (v gatewayValue) Set(s string) error {
	if *v.to = s; s == "none" {
		*v.to = ""
		return nil
	}
	*v.to, *v.any = strings.CutPrefix(s, "any:")
	if _, _, err := net.SplitHostPort(*v.to); err != nil {
		return fmt.Errorf("%q: want HOST:PORT, as 127.0.0.1:4741, or none", s)
	}
	return gateway.CheckAddress(*v.to, *v.any)
}

func (v pathsValue) String() string { return strings.Join(*v.to, " ") }
func (v pathsValue) Type() string   { return "PATH" }
func (v pathsValue) Set(s string) error {
	if !filepath.IsAbs(s) && !strings.HasPrefix(s, "/") {
		return fmt.Errorf("%q: want the whole path: a service has a working folder of its own", s)
	}
	*v.to = append(*v.to, filepath.Clean(s))
	return nil
}

func (v proxyValue) String() string { return *v.text }
func (v proxyValue) Type() string   { return "URL" }
func (v proxyValue) Set(s string) error {
	if s == "none" {
		*v.text, *v.to = s, func(*http.Request) (*url.URL, error) { return nil, nil }
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("want a URL, as http://proxy.example:3128, or none") // theirs would tell a password
	}
	switch {
	case !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) || u.Host == "" || strings.Trim(u.Path, "/") != "":
		return errors.New("want a URL, as http://proxy.example:3128, or none")
	case u.User != nil:
		return errors.New("a password doesn't belong here, where others can read it: set HTTPS_PROXY in the service's environment instead")
	}
	*v.text, *v.to = s, http.ProxyURL(u)
	return nil
}

func (v serversValue) String() string { return fmt.Sprint(*v.to) }
func (v serversValue) Type() string   { return "SERVER" }
func (v serversValue) Set(s string) error {
	p, err := origin.ParsePattern(s)
	if err != nil {
		return err
	}
	*v.to = append(*v.to, p)
	return nil
}

func (v coresValue) String() string { return strconv.Itoa(*v.to) }
func (v coresValue) Type() string   { return "SHARE" }
func (v coresValue) Set(s string) error {
	if share, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err != nil || !(p > 0 && p <= 100) {
			return fmt.Errorf("share %q: want more than 0%% and at most 100%%", s)
		}
		*v.to = max(1, int(math.Floor(float64(runtime.NumCPU())*p/100)))
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1024 {
		return fmt.Errorf("cores %q: want a share as 50%%, or a number of cores", s)
	}
	*v.to = n
	return nil
}

func (v bytesRateValue) String() string { return sizeFlag(v).String() }
func (v bytesRateValue) Type() string   { return "RATE" }
func (v bytesRateValue) Set(s string) error {
	if s == "none" {
		*v.to = -1
		return nil
	}
	r, err := parseRate(s)
	if err == nil && r < 8 {
		err = errors.New("want more, or none")
	}
	if err != nil {
		return fmt.Errorf("%w (or none)", err)
	}
	*v.to = int64(cmp.Or(r.BytesPerSecond(), 1))
	return nil
}
