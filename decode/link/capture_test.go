package link

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// shared is the folder of test captures beside the repository.
const shared = "../../../shared"

type frame struct {
	link    uint16
	data    []byte
	origLen int
	timeNs  int64
}

// readCapture reads what these tests need of pcap and pcapng (microsecond or
// nanosecond times), and stops quietly where a file is damaged.
func readCapture(t testing.TB, name string) []frame {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared, name))
	if err != nil {
		t.Skip("no shared captures")
	}
	if len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		b, _ = io.ReadAll(z)
	}
	if len(b) < 24 {
		return nil
	}
	if binary.LittleEndian.Uint32(b) == 0x0a0d0d0a {
		return readPcapng(b)
	}
	var o binary.ByteOrder = binary.LittleEndian
	if b[0] == 0xa1 {
		o = binary.BigEndian
	}
	unit := int64(1000)
	head := 16
	switch o.Uint32(b) {
	case 0xa1b2c3d4:
	case 0xa1b23c4d:
		unit = 1
	case 0xa1b2cd34:
		head = 24
	default:
		return nil
	}
	lt := uint16(o.Uint32(b[20:]))
	var out []frame
	for b = b[24:]; len(b) >= head; {
		n := int(o.Uint32(b[8:]))
		if n < 0 || n > len(b)-head {
			break
		}
		out = append(out, frame{lt, b[head : head+n], int(o.Uint32(b[12:])), int64(o.Uint32(b))*1e9 + int64(o.Uint32(b[4:]))*unit})
		b = b[head+n:]
	}
	return out
}

func readPcapng(b []byte) []frame {
	var o binary.ByteOrder = binary.LittleEndian
	var out []frame
	var links []uint16
	var units []int64
	for len(b) >= 12 {
		if binary.LittleEndian.Uint32(b) == 0x0a0d0d0a {
			o = binary.LittleEndian
			if b[8] == 0x1a {
				o = binary.BigEndian
			}
			links, units = nil, nil
		}
		kind, n := o.Uint32(b), int(o.Uint32(b[4:]))
		if n < 12 || n > len(b) || n%4 != 0 {
			break
		}
		body := b[8 : n-4]
		b = b[n:]
		switch {
		case kind == 1 && len(body) >= 8:
			links = append(links, o.Uint16(body))
			unit := int64(1000)
			for opts := body[8:]; len(opts) >= 4; {
				l := int(o.Uint16(opts[2:]))
				if o.Uint16(opts) == 0 || 4+l > len(opts) {
					break
				}
				if o.Uint16(opts) == 9 && l == 1 && opts[4] == 9 {
					unit = 1
				}
				opts = opts[min(len(opts), 4+(l+3)&^3):]
			}
			units = append(units, unit)
		case kind == 6 && len(body) >= 20:
			i, n := int(o.Uint32(body)), int(o.Uint32(body[12:]))
			if i >= len(links) || n < 0 || n > len(body)-20 {
				return out
			}
			ts := int64(o.Uint32(body[4:]))<<32 | int64(o.Uint32(body[8:]))
			out = append(out, frame{links[i], body[20 : 20+n], int(o.Uint32(body[16:])), ts * units[i]})
		case kind == 3 && len(body) >= 4 && len(links) > 0:
			n := min(int(o.Uint32(body)), len(body)-4)
			out = append(out, frame{links[0], body[4 : 4+n], int(o.Uint32(body)), 0})
		}
	}
	return out
}

// tsharkFrame is what tshark says of a frame's innermost transport.
type tsharkFrame struct {
	proto            string // "udp", "tcp" or ""
	src, dst         string
	srcPort, dstPort int
	length           int
	protocols        string
}

func tshark(t *testing.T, name string) map[int]tsharkFrame {
	cmd := exec.Command("tshark", "-n", "-r", filepath.Join(shared, name), "-o", "tcp.desegment_tcp_streams:FALSE",
		"-T", "fields", "-E", "occurrence=l", "-E", "separator=/t",
		"-e", "frame.number", "-e", "frame.protocols", "-e", "ip.src", "-e", "ip.dst", "-e", "ipv6.src", "-e", "ipv6.dst",
		"-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.length", "-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.len")
	outBytes, _ := cmd.Output() // damaged files give an error and the frames before it
	out := map[int]tsharkFrame{}
	for line := range strings.Lines(string(outBytes)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) < 12 {
			continue
		}
		num := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
		r := tsharkFrame{protocols: f[1]}
		udp, tcp := strings.LastIndex(f[1], ":udp"), strings.LastIndex(f[1], ":tcp")
		switch {
		case udp > tcp && f[8] != "":
			r.proto, r.srcPort, r.dstPort, r.length = "udp", num(6), num(7), num(8)-8
		case tcp > udp && f[11] != "":
			r.proto, r.srcPort, r.dstPort, r.length = "tcp", num(9), num(10), num(11)
		}
		r.src, r.dst = f[2], f[3]
		if strings.LastIndex(f[1], ":ipv6") > strings.LastIndex(f[1], ":ip:") || f[2] == "" {
			r.src, r.dst = f[4], f[5]
		}
		out[num(0)] = r
	}
	return out
}

// TestAgainstTshark compares every frame of the captures named by the
// environment variable with tshark's finding. It is for investigation:
// differences of judgement (damaged headers, ports that tshark takes for
// tunnels) are expected there.
func TestAgainstTshark(t *testing.T) {
	glob := os.Getenv("TWTRACE_TSHARK")
	if glob == "" {
		t.Skip("TWTRACE_TSHARK names no captures")
	}
	names, _ := filepath.Glob(filepath.Join(shared, glob))
	for _, name := range names {
		rel, _ := filepath.Rel(shared, name)
		t.Run(rel, func(t *testing.T) { compare(t, rel) })
	}
}

func compare(t *testing.T, name string) {
	want := tshark(t, name)
	d := NewDecoder()
	var p Packet
	bad := 0
	frames := readCapture(t, name)
	for i, f := range frames {
		v := d.Decode(f.link, f.data, f.origLen, f.timeNs, &p)
		w := want[i+1]
		got := tsharkFrame{}
		if v == Used && p.Proto != ProtoSCTP {
			got = tsharkFrame{proto: map[uint8]string{6: "tcp", 17: "udp"}[p.Proto], src: p.Src.String(), dst: p.Dst.String(),
				srcPort: int(p.SrcPort), dstPort: int(p.DstPort), length: p.WireLen}
		}
		if strings.Contains(w.protocols, "icmp") {
			w = tsharkFrame{protocols: w.protocols}
		}
		if a, err := netip.ParseAddr(w.src); err == nil {
			w.src = a.Unmap().String()
		}
		if a, err := netip.ParseAddr(w.dst); err == nil {
			w.dst = a.Unmap().String()
		}
		protocols := w.protocols
		w.protocols = ""
		if got.proto == "" && w.proto == "" {
			continue
		}
		if got != w {
			if bad++; bad <= 4 {
				t.Errorf("frame %d: %v %s: got %+v, tshark %+v (%s)", i+1, v, v.Layer(), got, w, protocols)
			}
		}
	}
	counts := map[string]int{}
	for _, w := range want {
		if !strings.Contains(w.protocols, "icmp") {
			counts[w.proto]++
		}
	}
	t.Logf("tshark: udp %d tcp %d of %d", counts["udp"], counts["tcp"], len(want))
	if bad > 0 {
		t.Errorf("%d of %d frames differ", bad, len(frames))
	}
}

// TestCaptures holds tshark 4.0.17's counts of frames whose innermost
// transport is UDP or TCP; fragments count at the frame that completes them,
// and what ICMP errors quote does not count.
func TestCaptures(t *testing.T) {
	for _, c := range []struct {
		name          string
		udp, tcp, all int
	}{
		{"lab/s1-webrtc/offload/capture.pcapng", 479, 294, 782},
		{"lab/s1-webrtc/ws-fragmented/capture-any.pcap", 481, 771, 1264},
		{"lab/s1-webrtc/imp-jitter/capture-server.pcap", 2107, 825, 2947},
		{"lab/s2-sip/tcp/capture.pcapng", 1598, 53, 1651},
		{"lab/s2-sip/tcp-big/capture.pcapng", 198, 34, 232},
		{"captures/files/ajbanjara+Wireshark/T38.pcap", 18, 0, 18},
		{"captures/files/OISF+suricata-verify/hdlc-http_1tx.pcap", 0, 17, 17},
		{"captures/files/AlexeyVasilev+PcapFlowLab/28_gtpu_linux_sll2_inner_ipv6_tcp.pcap", 0, 1, 1},
		{"captures/files/OISF+suricata-verify/frag-eth-vlan-ipv6-tcp.pcap", 0, 1, 3},
		{"captures/files/OISF+suricata-verify/frag-ip-tcp-syn.pcap", 0, 1, 3},
		{"captures/files/SIDN+entrada2/sidnlabs-test-ip-1-dns-response-2-ip-fragments.pcap", 1, 0, 2},
		{"captures/files/SIDN+entrada2/sidnlabs-test-multiple-dns-msg-over-tcp.pcap", 0, 15, 15},
		{"captures/files/arkime+arkime/80211http.pcap", 0, 26, 26},
		{"captures/files/arkime+arkime/gtp-iphone.pcap", 40, 58, 106},
		{"captures/files/arkime+arkime/nflog.pcap", 0, 10, 10},
		{"captures/files/arkime+arkime/socks5-http-302-frag.pcap", 0, 14, 72},
		{"captures/files/brimdata+brimcap/loopback.pcap", 0, 86, 86},
		{"captures/files/kaitoy+pcap4j/IpV6ExtFragmentPacketTest.pcap", 1, 0, 2},
		{"captures/files/seladb+PcapPlusPlus/IPv4Frag.pcap", 1, 0, 3},
		{"captures/files/seladb+PcapPlusPlus/null_loopback.pcap", 2, 1, 3},
		{"captures/files/seladb+PcapPlusPlus/sll2.pcap", 0, 3, 3},
		{"captures/files/seladb+PcapPlusPlus/ipv6_opt_fragments.pcap", 1, 0, 4},
		{"captures/files/seladb+PcapPlusPlus/frag_with_padding.pcap", 1, 0, 8},
		{"captures/files/seladb+PcapPlusPlus/ipfragutil_bpf_filter.pcap", 0, 5, 10},
		{"captures/files/sipcapture+heplify/ipip0.pcap", 8, 0, 8},
		{"captures/files/snort3+snort3_demo/dns-udp.pcap", 2, 0, 13},
		{"captures/files/syncsynchalt+illustrated-tls12/captures_capture.pcap", 0, 22, 22},
		{"captures/files/the-tcpdump-group+libpcap/geneve.pcap", 0, 8, 10},
		{"captures/files/the-tcpdump-group+tcpdump/lspping-fec-ldp.pcap", 10, 3, 13},
		{"captures/files/zeek+zeek/erspan.pcap", 48, 106, 287},
		{"captures/files/zeek+zeek/ipv6-fragmented-dns.pcap", 5, 0, 8},
		{"captures/files/zeek+zeek/ipv6-http-atomic-frag.pcap", 0, 36, 38},
		{"captures/files/zeek+zeek/gtp1_gn_normal_incl_fragmentation.pcap", 0, 68, 108},
		{"captures/files/zeek+zeek/gtp_ext_header.pcap", 0, 1, 2},
		{"captures/files/zeek+zeek/wlanmon.pcap", 3, 0, 3},
		{"captures/files/zeek+zeek/radiotap.pcap", 3, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := readCapture(t, c.name)
			d := NewDecoder()
			var p Packet
			udp, tcp := 0, 0
			for _, f := range frames {
				if d.Decode(f.link, f.data, f.origLen, f.timeNs, &p) != Used {
					continue
				}
				switch p.Proto {
				case ProtoUDP:
					udp++
				case ProtoTCP:
					tcp++
				}
			}
			if udp != c.udp || tcp != c.tcp || len(frames) != c.all {
				t.Errorf("udp %d, tcp %d of %d; tshark: %d, %d of %d", udp, tcp, len(frames), c.udp, c.tcp, c.all)
			}
		})
	}
}
