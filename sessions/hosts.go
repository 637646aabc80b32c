package sessions

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/tls"
)

type hostName struct{ name, by string }

const maxNames = 32 // names of one address that are kept

func (b *Builder) nameHost(a netip.Addr, name, by string) {
	name = strings.ToValidUTF8(strings.ToLower(strings.TrimSuffix(name, ".")), "\uFFFD")
	if name == "" || !a.IsValid() {
		return
	}
	list := b.names[a]
	for _, n := range list {
		if n.name == name {
			return
		}
	}
	switch {
	case len(list) >= maxNames:
	case b.named >= b.limit.names:
		b.capped("names of hosts")
	default:
		b.named++
		b.names[a] = append(list, hostName{name, by})
	}
}

// addDNS learns names: an address answers for the name that was asked, also
// through CNAMEs.
func (b *Builder) addDNS(ev *decode.Event) {
	m := ev.DNS
	if !m.Response {
		return
	}
	for i := range m.Answers {
		a := &m.Answers[i]
		if !a.Addr.IsValid() {
			continue
		}
		name := m.Name
		if name == "" {
			name = a.Name
		}
		b.nameHost(a.Addr.Unmap(), name, "dns")
	}
}

func (b *Builder) addTLS(ev *decode.Event) {
	m := ev.TLS
	switch m.Kind {
	case tls.KindApplicationData:
		b.sealedRecord(ev)
	case tls.KindClientHello:
		if m.ClientHello != nil {
			b.nameHost(ev.Dst().Addr(), m.ClientHello.SNI, "sni")
			b.sealedHello(ev)
		}
	case tls.KindCertificate:
		if m.Certificate == nil { // damaged
			return
		}
		b.nameHost(ev.Src().Addr(), m.Certificate.CommonName, "certificate")
		for _, n := range m.Certificate.DNSNames {
			b.nameHost(ev.Src().Addr(), n, "certificate")
		}
	}
}

// flowMedia is what a flow carries of streams.
type flowMedia struct{ any, encrypted bool }

// mediaOf tells what each flow carries, by its ID.
func mediaOf(flows []*decode.Flow, list []*stream) []flowMedia {
	out := make([]flowMedia, len(flows)+1)
	for _, s := range list {
		m := &out[s.flow.ID]
		m.any, m.encrypted = true, m.encrypted || s.encrypted
	}
	return out
}

// flowRows are the rows of table flows.
func (b *Builder) flowRows(flows []*decode.Flow, media []flowMedia) []Flow {
	rows := make([]Flow, 0, len(flows))
	for _, f := range flows {
		r := Flow{
			FlowID: f.ID, Transport: transport(f.Proto), Src: b.addr(f.Src.Addr()), Dst: b.addr(f.Dst.Addr()),
			Application: f.App().String(), ServerName: f.ServerName,
			Packets: f.Packets[0] + f.Packets[1], Bytes: f.Bytes[0] + f.Bytes[1], FirstAt: f.First, LastAt: f.Last,
			RTTms: f.RTTms, Retransmissions: f.Retransmissions, Gaps: f.Gaps, GapBytes: f.GapBytes,
		}
		if r.Transport != "other" {
			r.SrcPort, r.DstPort = decode.Some(uint32(f.Src.Port())), decode.Some(uint32(f.Dst.Port()))
		}
		app, m := f.App(), media[f.ID]
		if app == decode.AppRTP && !m.any {
			r.Application = ""
		}
		if m.encrypted {
			r.Application = "srtp"
		}
		switch {
		case f.Encryption != "":
			r.Encryption, r.EncryptionNote = f.Encryption, f.EncryptionNote
		case app == decode.AppDTLS, m.encrypted:
			r.Encryption, r.EncryptionNote = "no-key", "no key for this session"
		case r.Application != "":
			r.Encryption = "none"
		}
		rows = append(rows, r)
	}
	return rows
}

func transport(proto uint8) string {
	switch proto {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return "other"
}

type host struct {
	Host
	addr  netip.Addr
	roles map[string]bool
	ports map[string]bool
}

const maxPorts = 64 // ports of one host that are listed

// hostRows are the rows of table hosts, by address.
func (b *Builder) hostRows(flows []*decode.Flow, media []flowMedia, observed netip.Addr) []Host {
	hosts := map[netip.Addr]*host{}
	get := func(a netip.Addr) *host {
		h := hosts[a]
		if h == nil {
			h = &host{addr: a, roles: map[string]bool{}, ports: map[string]bool{}}
			hosts[a] = h
		}
		return h
	}
	for _, f := range flows {
		ends := [2]*host{get(f.Src.Addr()), get(f.Dst.Addr())}
		for i, h := range ends {
			h.PacketsOut += f.Packets[i]
			h.BytesOut += f.Bytes[i]
			h.PacketsIn += f.Packets[1-i]
			h.BytesIn += f.Bytes[1-i]
			if h.FirstAt == 0 || f.First < h.FirstAt {
				h.FirstAt = f.First
			}
			h.LastAt = max(h.LastAt, f.Last)
		}
		if name := transport(f.Proto); name != "other" && len(ends[1].ports) < maxPorts {
			ends[1].ports[fmt.Sprintf("%s/%d", name, f.Dst.Port())] = true
		}
		b.roles(f, ends, media[f.ID].any)
	}
	if h := hosts[observed]; h != nil {
		h.roles["client"] = true
	}
	rows := make([]Host, 0, len(hosts))
	for _, h := range hosts {
		h.finish(b.names[h.addr])
		rows = append(rows, h.Host)
	}
	slices.SortFunc(rows, func(x, y Host) int {
		return cmp.Or(cmp.Compare(x.FirstAt, y.FirstAt), strings.Compare(x.Address, y.Address))
	})
	return rows
}

func (b *Builder) roles(f *decode.Flow, ends [2]*host, media bool) {
	switch app := f.App(); app {
	case decode.AppSIP:
		ends[0].roles["signaling"], ends[1].roles["signaling"] = true, true
	case decode.AppRTP, decode.AppRTCP, decode.AppDTLS:
		if media || app != decode.AppRTP {
			ends[0].roles["media"], ends[1].roles["media"] = true, true
		}
	case decode.AppSTUN:
		if f.Dst.Port() == 3478 || f.Dst.Port() == 19302 {
			ends[1].roles["stun"] = true
		} else {
			ends[0].roles["media"], ends[1].roles["media"] = true, true
		}
	case decode.AppTURN:
		ends[1].roles["turn"] = true
	case decode.AppDNS:
		if f.Dst.Port() == 53 {
			ends[1].roles["dns"] = true
		}
	case decode.AppPStream:
		ends[1].roles["signaling"] = true
	case decode.AppMediaStream:
		ends[1].roles["mediastream"] = true
	case decode.AppTLS, decode.AppHTTP, decode.AppHTTP2, decode.AppWebSocket:
		ends[1].roles[roleByName(f.ServerName)] = true
	}
}

// roleByName is what a server does by its name (TWILIO.md A1, C, H).
func roleByName(name string) string {
	host, ok := strings.CutSuffix(strings.ToLower(name), ".twilio.com")
	if !ok {
		return "other"
	}
	first, _, _ := strings.Cut(host, ".")
	switch {
	case strings.HasPrefix(first, "chunder"), first == "voice-js", first == "matrix", first == "stream":
		return "signaling"
	case first == "eventgw":
		return "events"
	case first == "api":
		return "rest"
	}
	return "other"
}

func (h *host) finish(names []hostName) {
	h.Address = h.addr.String()
	names = slices.Clone(names)
	slices.SortFunc(names, func(x, y hostName) int {
		return cmp.Or(cmp.Compare(nameRank(x.by), nameRank(y.by)), strings.Compare(x.name, y.name))
	})
	for _, n := range names {
		h.Names = append(h.Names, n.name)
		h.NamesBy = append(h.NamesBy, n.by)
		if h.Provider == "" && (n.name == "twilio.com" || strings.HasSuffix(n.name, ".twilio.com")) {
			h.Provider, h.ProviderBy = "Twilio", "name"
		}
	}
	if h.Provider == "" && inTwilioRange(h.addr) {
		h.Provider, h.ProviderBy = "Twilio", "range"
	}
	h.Roles = sorted(h.roles)
	h.Ports = sorted(h.ports)
}

func nameRank(by string) int {
	return slices.Index([]string{"sni", "http-host", "dns", "certificate"}, by)
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// inTwilioRange tells the published media and SIP ranges (TWILIO.md D, E).
func inTwilioRange(a netip.Addr) bool {
	for _, p := range twilioRanges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var twilioRanges = prefixes(
	"168.86.128.0/18",
	"54.172.60.0/23", "34.203.250.0/23", "54.244.51.0/24", "54.171.127.192/26", "52.215.127.0/24",
	"35.156.191.128/25", "54.65.63.192/26", "54.169.127.128/26", "54.252.254.64/26", "177.71.206.192/26",
	"208.78.112.0/25", "67.213.136.0/25", "185.187.132.0/25", "185.187.133.0/24", "185.194.136.0/25",
	"103.75.151.0/25", "103.144.142.0/25", "103.146.214.0/25", "159.183.255.0/25",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// WeakTLS is a server's choice that whoever reads along may break.
type WeakTLS struct {
	Server string // its address
	Why    string // the version or what the cipher suite lacks
}

// weakTLS finds the flows whose server chose a version or cipher suite out of
// date, by flow.
func weakTLS(flows []*decode.Flow) map[uint32]WeakTLS {
	out := map[uint32]WeakTLS{}
	for _, f := range flows {
		if f.TLSVersion == 0 {
			continue
		}
		if why := tls.Weakness(f.TLSVersion, f.TLSSuite); why != "" {
			client, _ := f.TLSClient()
			out[f.ID] = WeakTLS{f.End(1 - client).Addr().String(), why}
		}
	}
	return out
}
