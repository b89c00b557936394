package mdns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/net/dns/dnsmessage"
)

// Limits of a packet. Beyond them a packet is dropped, or the rest of it.
const (
	maxPacket    = 9000 // bytes (RFC 6762 section 17)
	maxQuestions = 8
	maxRecords   = 64
	maxSayings   = 8  // nodes that one packet may speak for; ours speaks for one
	maxTexts     = 32 // dnsaddr strings in a packet
	maxAddrs     = 8  // addresses of one node
	maxSlashes   = 8  // parts of an address: /ip4/A/udp/P/quic-v1/p2p/ID has 7
)

const (
	// recordLife is how long what a node says is taken for true.
	recordLife = 10 * time.Minute

	dnsaddr  = "dnsaddr="
	cacheBit = 1 << 15 // of a record's class: replaces what was said before (RFC 6762 section 10.2)
	askBit   = 1 << 15 // of a question's class: unicast answers welcome (section 5.4), which we don't give
)

// A message is what a packet says, as far as it concerns one service.
type message struct {
	asks  bool     // who is there
	known []string // the asker knows these instances
	says  []saying
}

// A saying is what a node says of itself. A life of 0 is its farewell.
type saying struct {
	instance string
	life     time.Duration
	info     peer.AddrInfo // no ID in a farewell
}

// serviceName returns the DNS name of an enterprise's service.
func serviceName(label string) (dnsmessage.Name, error) {
	return dnsmessage.NewName(label + "._udp.local.")
}

// encodeQuery asks for the instances of service, known ones excepted. The asker
// names itself as the first of them: by this it knows its question when that comes
// back. And it says where it is, as one does who probes for a name (RFC 6762 section
// 8.2): then they know each other by one packet and its answer.
func encodeQuery(service dnsmessage.Name, asker string, self peer.AddrInfo, known []neighbour, now time.Time) ([]byte, error) {
	own, err := dnsmessage.NewName(asker + "." + service.String())
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	err = errors.Join(
		b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: service, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}),
		b.StartAnswers(),
	)
	for _, n := range slices.Concat([]neighbour{{instance: asker, until: now.Add(recordLife)}}, known) {
		name, nameErr := dnsmessage.NewName(n.instance + "." + service.String())
		if nameErr != nil {
			continue // a name of someone else's making that doesn't fit
		}
		header := dnsmessage.ResourceHeader{Name: service, Class: dnsmessage.ClassINET, TTL: uint32(n.until.Sub(now) / time.Second)}
		err = errors.Join(err, b.PTRResource(header, dnsmessage.PTRResource{PTR: name}))
	}
	header := dnsmessage.ResourceHeader{Name: own, Class: dnsmessage.ClassINET, TTL: uint32(recordLife / time.Second)}
	err = errors.Join(err, b.StartAuthorities(), b.TXTResource(header, dnsmessage.TXTResource{TXT: texts(self)}))
	return finish(&b, err)
}

// texts returns the strings of a node's TXT record.
func texts(self peer.AddrInfo) []string {
	var texts []string
	for _, a := range self.Addrs[:min(len(self.Addrs), maxAddrs)] {
		texts = append(texts, fmt.Sprintf("%s%s/p2p/%s", dnsaddr, a, self.ID))
	}
	return texts
}

// encodeAnswer says where self is, for life; 0 is the farewell.
func encodeAnswer(service dnsmessage.Name, instance string, self peer.AddrInfo, life time.Duration) ([]byte, error) {
	name, err := dnsmessage.NewName(instance + "." + service.String())
	if err != nil {
		return nil, err
	}
	target, err := dnsmessage.NewName(instance + ".local.")
	if err != nil {
		return nil, err
	}
	var port uint16
	var ips []netip.Addr
	for _, a := range self.Addrs[:min(len(self.Addrs), maxAddrs)] {
		ip, p := place(a)
		port = p
		if !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	ttl := uint32(life / time.Second)
	shared := dnsmessage.ResourceHeader{Name: service, Class: dnsmessage.ClassINET, TTL: ttl}
	own := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET | cacheBit, TTL: ttl}
	host := dnsmessage.ResourceHeader{Name: target, Class: dnsmessage.ClassINET | cacheBit, TTL: ttl}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true, Authoritative: true})
	b.EnableCompression()
	err = errors.Join(
		b.StartAnswers(),
		b.PTRResource(shared, dnsmessage.PTRResource{PTR: name}),
		b.StartAdditionals(),
		// Other software wants them, and some firewalls; we read the TXT record.
		b.SRVResource(own, dnsmessage.SRVResource{Port: port, Target: target}),
		b.TXTResource(own, dnsmessage.TXTResource{TXT: texts(self)}),
	)
	for _, ip := range ips {
		if ip.Is4() {
			err = errors.Join(err, b.AResource(host, dnsmessage.AResource{A: ip.As4()}))
		} else {
			err = errors.Join(err, b.AAAAResource(host, dnsmessage.AAAAResource{AAAA: ip.As16()}))
		}
	}
	return finish(&b, err)
}

func finish(b *dnsmessage.Builder, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

var errPacket = errors.New("not a packet of multicast DNS")

// decode reads what packet says of service. Records of other services, and
// those that make no sense, are passed over.
func decode(packet []byte, service dnsmessage.Name) (message, error) {
	if len(packet) > maxPacket {
		return message{}, errPacket
	}
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || header.OpCode != 0 || header.RCode != dnsmessage.RCodeSuccess {
		return message{}, errPacket
	}
	var m message
	for range maxQuestions {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return message{}, errPacket
		}
		if !header.Response && q.Type == dnsmessage.TypePTR && sameName(q.Name, service) {
			m.asks = true
		}
	}
	if err := p.SkipAllQuestions(); err != nil {
		return message{}, errPacket
	}
	d := decoder{service: service, suffix: "." + service.String(), message: &m, response: header.Response}
	sections := []section{
		{p.AnswerHeader, p.SkipAnswer}, {p.AuthorityHeader, p.SkipAuthority}, {p.AdditionalHeader, p.SkipAdditional},
	}
	for _, s := range sections {
		if err := d.section(&p, s); err != nil {
			return message{}, errPacket
		}
	}
	m.says = slices.DeleteFunc(m.says, func(s saying) bool { return s.life > 0 && s.info.ID == "" })
	return m, nil
}

// A section reads one of the three sections of records.
type section struct {
	header func() (dnsmessage.ResourceHeader, error)
	skip   func() error
}

// A decoder gathers what the records of a packet say.
type decoder struct {
	service  dnsmessage.Name
	suffix   string // of names of instances
	response bool
	records  int
	texts    int
	*message
}

func (d *decoder) section(p *dnsmessage.Parser, s section) error {
	for {
		h, err := s.header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if d.records++; err != nil || d.records > maxRecords {
			return errPacket
		}
		switch {
		case h.Type == dnsmessage.TypePTR && sameName(h.Name, d.service):
			r, err := p.PTRResource()
			if err != nil {
				return err
			}
			d.pointer(r.PTR, h.TTL)
		case h.Type == dnsmessage.TypeTXT && d.texts < maxTexts:
			r, err := p.TXTResource()
			if err != nil {
				return err
			}
			if instance, ok := d.instance(h.Name); ok && (d.response || h.TTL > 0) { // a question is no farewell
				d.text(instance, h.TTL, r.TXT)
			}
		default:
			if err := s.skip(); err != nil {
				return err
			}
		}
	}
}

// pointer notes that a node is there: in a question, that the asker knows it.
func (d *decoder) pointer(name dnsmessage.Name, ttl uint32) {
	instance, ok := d.instance(name)
	switch {
	case !ok:
	case !d.response:
		d.known = append(d.known, instance)
	default:
		d.saying(instance, ttl)
	}
}

// text reads a node's addresses. They have to be those of one node.
func (d *decoder) text(instance string, ttl uint32, texts []string) {
	s := d.saying(instance, ttl)
	if s == nil {
		return
	}
	for _, t := range texts {
		if d.texts++; d.texts > maxTexts || len(s.info.Addrs) == maxAddrs {
			return
		}
		id, addr, ok := parseText(t)
		if !ok || s.info.ID != "" && s.info.ID != id {
			continue
		}
		s.info.ID = id
		if !ma.Contains(s.info.Addrs, addr) {
			s.info.Addrs = append(s.info.Addrs, addr)
		}
	}
}

// saying returns what the packet says so far of an instance; nil if there are
// too many.
func (d *decoder) saying(instance string, ttl uint32) *saying {
	life := min(time.Duration(ttl)*time.Second, recordLife)
	for i := range d.says {
		if d.says[i].instance == instance {
			d.says[i].life = min(d.says[i].life, life)
			return &d.says[i]
		}
	}
	if len(d.says) == maxSayings {
		return nil
	}
	d.says = append(d.says, saying{instance: instance, life: life})
	return &d.says[len(d.says)-1]
}

// instance returns the first label of a name of this service.
func (d *decoder) instance(name dnsmessage.Name) (string, bool) {
	s := string(name.Data[:name.Length])
	if len(s) <= len(d.suffix) || !strings.EqualFold(s[len(s)-len(d.suffix):], d.suffix) {
		return "", false
	}
	label := strings.ToLower(s[:len(s)-len(d.suffix)])
	return label, !strings.ContainsFunc(label, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

func sameName(a, b dnsmessage.Name) bool {
	return strings.EqualFold(string(a.Data[:a.Length]), string(b.Data[:b.Length]))
}

// parseText reads a TXT string: an IP address and a port for TCP or QUIC, and
// the node there. Nothing else can be dialled, so nothing else is taken.
func parseText(t string) (peer.ID, ma.Multiaddr, bool) {
	s, ok := strings.CutPrefix(t, dnsaddr)
	if !ok || strings.Count(s, "/") > maxSlashes {
		return "", nil, false
	}
	full, err := ma.NewMultiaddr(s)
	if err != nil {
		return "", nil, false
	}
	addr, id := peer.SplitAddr(full)
	if id == "" {
		return "", nil, false
	}
	if ip, port := place(addr); !ip.IsValid() || port == 0 {
		return "", nil, false
	}
	return id, addr, true
}

// place returns where a TCP or QUIC address leads, and the zero Addr for any
// other kind of address.
func place(a ma.Multiaddr) (netip.Addr, uint16) {
	var codes []int
	for _, c := range a {
		codes = append(codes, c.Code())
	}
	if len(codes) < 2 || codes[0] != ma.P_IP4 && codes[0] != ma.P_IP6 ||
		!slices.Equal(codes[1:], []int{ma.P_TCP}) && !slices.Equal(codes[1:], []int{ma.P_UDP, ma.P_QUIC_V1}) {
		return netip.Addr{}, 0
	}
	_, hostPort, err := manet.DialArgs(a)
	if err != nil {
		return netip.Addr{}, 0
	}
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}, 0
	}
	return ap.Addr().Unmap(), ap.Port()
}
