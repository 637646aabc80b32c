package dtls_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/dtls"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/srtp"
	"github.com/twtrace/twtrace/internal/captest"
)

const shared = captest.Shared

// datagram is a UDP payload, out of its TURN envelope if it had one.
type datagram struct {
	src, dst netip.AddrPort
	data     []byte
	wireLen  int
	at       int64
	turn     bool
}

func capture(t testing.TB, name string) (all []datagram) {
	t.Helper()
	c := captest.Capture{Path: name, FS: os.DirFS(shared)}
	err := c.Packets(t, func(frame *pcap.Frame, p *link.Packet) {
		if p.Proto != link.ProtoUDP {
			return
		}
		one := datagram{
			src: netip.AddrPortFrom(p.Src, p.SrcPort), dst: netip.AddrPortFrom(p.Dst, p.DstPort),
			data: bytes.Clone(p.Payload), wireLen: p.WireLen, at: frame.Time,
		}
		if b := one.data; len(b) == p.WireLen && len(b) > 20 {
			n := int(b[2])<<8 | int(b[3])
			switch typ := int(b[0])<<8 | int(b[1]); {
			case typ >= 0x4000 && typ < 0x8000 && n <= len(b)-4: // ChannelData, RFC 8656, 12.4
				one.data, one.turn = b[4:4+n], true
			case typ == 0x0016 || typ == 0x0017: // Send and Data indications
				for a := b[20:]; len(a) >= 4; {
					size := int(a[2])<<8 | int(a[3])
					if size > len(a)-4 {
						break
					}
					if a[0] == 0 && a[1] == 0x13 { // DATA
						one.data, one.turn = a[4:4+size], true
					}
					a = a[min(4+(size+3)&^3, len(a)):]
				}
			}
			if one.turn {
				one.wireLen = len(one.data)
			}
		}
		all = append(all, one)
	})
	if errors.Is(err, captest.ErrFormat) {
		t.Fatal(err)
	} else if err != nil {
		t.Log(err)
	}
	return all
}

func keylog(t testing.TB, name string) dtls.Lookup {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared, name))
	if err != nil {
		t.Skip(err)
	}
	secrets := map[string][][]byte{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 {
			secret, _ := hex.DecodeString(f[2])
			secrets[f[0]+strings.ToLower(f[1])] = append(secrets[f[0]+strings.ToLower(f[1])], secret)
		}
	}
	return func(label string, random *[32]byte) [][]byte { return secrets[label+hex.EncodeToString(random[:])] }
}

// association is one Conn with what its keys opened.
type association struct {
	conn    *dtls.Conn
	a, b    netip.AddrPort
	opens   [2]*srtp.Context // by the side that sent
	streams map[string]*stream
	rtcp    map[string]int // compound packets, by side and first type
	failed  int            // of SRTCP
}

type stream struct{ packets, good int }

// follow runs datagrams through Conns and Contexts, as a caller would.
func follow(t testing.TB, ds []datagram, lookup dtls.Lookup) []*association {
	t.Helper()
	type pair struct {
		a, b netip.AddrPort
		turn bool
	}
	index := map[pair]*association{}
	var order []*association
	for _, d := range ds {
		k, dir := pair{d.src, d.dst, d.turn}, 0
		a := index[k]
		if a == nil {
			if a = index[pair{d.dst, d.src, d.turn}]; a != nil {
				dir = 1
			}
		}
		switch {
		case dtls.Looks(d.data):
			if a == nil {
				a = &association{conn: dtls.NewConn(lookup), a: d.src, b: d.dst, streams: map[string]*stream{}, rtcp: map[string]int{}}
				index[k] = a
				order = append(order, a)
			}
			a.conn.Datagram(dir, d.data, d.at)
			if profile, ck, sk, cs, ss, ok := a.conn.SRTP(); ok && a.opens[0] == nil {
				client := a.conn.Status().ClientDir
				var err1, err2 error
				a.opens[client], err1 = srtp.NewContext(srtp.ProfileOfDTLS(profile), ck, cs)
				a.opens[1-client], err2 = srtp.NewContext(srtp.ProfileOfDTLS(profile), sk, ss)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
			}
		case a != nil && len(d.data) > 12 && d.data[0]>>6 == 2:
			side := "client->server"
			if dir != a.conn.Status().ClientDir {
				side = "server->client"
			}
			if !rtp.Looks(d.data) {
				if a.opens[dir] == nil {
					continue
				}
				plain, r := a.opens[dir].Control(d.data, d.wireLen, nil)
				if r != srtp.Decrypted {
					a.failed++
				}
				if len(plain) > 4 {
					a.rtcp[fmt.Sprintf("%s PT%d ok", side, plain[1])]++
				}
				for len(plain) > 4 && plain[0]>>6 == 2 { // a compound packet, RFC 3550, 6.1
					plain = plain[min(len(plain), 4+4*(int(plain[2])<<8|int(plain[3]))):]
				}
				if len(plain) > 0 {
					t.Errorf("SRTCP ends in %x", plain)
				}
				continue
			}
			key := fmt.Sprintf("%s 0x%s", side, hex.EncodeToString(d.data[8:12]))
			s := a.streams[key]
			if s == nil {
				s = &stream{}
				a.streams[key] = s
			}
			s.packets++
			if a.opens[dir] == nil {
				continue
			}
			plain, r := a.opens[dir].Packet(d.data, d.wireLen, nil)
			var h rtp.Header
			if r == srtp.Decrypted && rtp.Decode(plain, len(plain), &h) && !h.Malformed {
				s.good++
			}
		}
	}
	return order
}

// TestLab compares with what the recordings' own analysis found.
func TestLab(t *testing.T) {
	runs, _ := filepath.Glob(shared + "/lab/s1-webrtc/*/keys-dtls.log")
	compared := 0
	for _, log := range runs {
		run := filepath.Base(filepath.Dir(log))
		t.Run(run, func(t *testing.T) {
			dir := "lab/s1-webrtc/" + run
			var truth struct {
				SRTP []struct {
					Dir, SSRC              string
					Packets, Authenticated int
				} `json:"srtp_decrypted"`
				Media []struct {
					Tx     int    `json:"tx_packets"`
					Rx     int    `json:"rx_packets"`
					TxSSRC uint32 `json:"local_ssrc"`
					RxSSRC uint32 `json:"remote_ssrc"`
				}
			}
			load(t, dir+"/truth.json", &truth)
			as := follow(t, capture(t, dir+"/capture.pcapng"), keylog(t, dir+"/keys-dtls.log"))
			have := map[string]stream{}
			for _, a := range as {
				for k, s := range a.streams {
					have[k] = *s
				}
				if s := a.conn.Status(); s.State != dtls.Decrypted || s.Version != dtls.Version12 || s.Malformed != 0 || a.failed != 0 ||
					s.FinishedAt <= s.ServerHelloAt || s.ServerHelloAt <= s.ClientHelloAt || s.FinishedAt-s.ClientHelloAt > 5e9 {
					t.Errorf("%v %v: %+v, %d SRTCP packets failed", a.a, a.b, s, a.failed)
				}
			}
			for _, s := range truth.SRTP {
				if h := have[s.Dir+" "+s.SSRC]; h.packets != s.Packets || h.good != s.Authenticated {
					t.Errorf("%s %s: %+v, want %d and %d", s.Dir, s.SSRC, h, s.Packets, s.Authenticated)
				}
				compared++
			}
			if run == "turn-udp" {
				// Its analysis did not look into TURN; the gateway counted.
				for _, m := range truth.Media {
					for k, want := range map[string]int{fmt.Sprintf("server->client 0x%08x", m.TxSSRC): m.Tx, fmt.Sprintf("client->server 0x%08x", m.RxSSRC): m.Rx} {
						if h := have[k]; h.good != h.packets || h.good < want-2 || h.good > want+2 {
							t.Errorf("%s: %+v, gateway counted %d", k, h, want)
						}
						compared++
					}
				}
			} else if len(have) != len(truth.SRTP) {
				t.Errorf("streams %v", have)
			}
			if _, err := os.Stat(filepath.Join(shared, dir, "srtp.json")); err != nil {
				return
			}
			var keys []struct {
				Client, Server string         `json:"-"`
				Suite          string         `json:"cipher_suite"`
				Profile        string         `json:"srtp_profile"`
				ClientKey      string         `json:"client_write_master_key"`
				ServerKey      string         `json:"server_write_master_key"`
				ClientSalt     string         `json:"client_write_master_salt"`
				ServerSalt     string         `json:"server_write_master_salt"`
				RTCP           map[string]int `json:"srtcp"`
				ClientAddr     netip.AddrPort
			}
			load(t, dir+"/srtp.json", &keys)
			if len(keys) != len(as) {
				t.Fatalf("%d associations, want %d", len(as), len(keys))
			}
			for i, want := range keys {
				a := as[i]
				p, ck, sk, cs, ss, ok := a.conn.SRTP()
				s := a.conn.Status()
				if !ok || hex.EncodeToString(ck) != want.ClientKey || hex.EncodeToString(sk) != want.ServerKey || hex.EncodeToString(cs) != want.ClientSalt ||
					hex.EncodeToString(ss) != want.ServerSalt || fmt.Sprintf("0x%04x", p) != want.Profile || fmt.Sprintf("0x%04x", s.CipherSuite) != want.Suite || s.SRTPProfile != p {
					t.Errorf("keys differ: %+v", s)
				}
				if client := [...]netip.AddrPort{a.a, a.b}[s.ClientDir]; client != want.ClientAddr {
					t.Errorf("client %v, want %v", client, want.ClientAddr)
				}
				if !maps.Equal(a.rtcp, want.RTCP) {
					t.Errorf("SRTCP %v, want %v", a.rtcp, want.RTCP)
				}
			}
		})
	}
	if len(runs) > 0 && compared < 30 {
		t.Errorf("only %d streams compared", compared)
	}
}

// TestBaresip has DTLS-SRTP on the two ports of a call, compared with the
// packets that tshark counted.
func TestBaresip(t *testing.T) {
	const dir = "lab/s2-sip/bs-udp-dtls"
	as := follow(t, capture(t, dir+"/capture.pcapng"), keylog(t, dir+"/keys.log"))
	if len(as) != 2 {
		t.Fatalf("%d associations", len(as))
	}
	want := map[string]int{"0x61a53f8b": 428, "0x325c0ee5": 428}
	rtcp, failed := 0, 0
	for _, a := range as {
		if s := a.conn.Status(); s.State != dtls.Decrypted || s.CipherSuite != 0xc030 || s.SRTPProfile != 1 {
			t.Errorf("%+v", s)
		}
		for k, s := range a.streams {
			_, ssrc, _ := strings.Cut(k, " ")
			if s.good != s.packets || s.packets != want[ssrc] {
				t.Errorf("%s: %+v", k, s)
			}
			delete(want, ssrc)
		}
		for _, n := range a.rtcp {
			rtcp += n
		}
		failed += a.failed
	}
	// baresip 1.0.0 sends some RTCP in the clear: frames 13, 879, 884 and 885,
	// after the keys were there.
	if len(want) != 0 || rtcp != 4 || failed != 4 {
		t.Errorf("missing %v; SRTCP: %d opened, %d not", want, rtcp, failed)
	}
}

// TestFreeswitch is DTLS 1.0 with keys that others derived.
func TestFreeswitch(t *testing.T) {
	const name = "captures/files/Lekensteyn+wireshark-notes/webrtc-freeswitch.pcapng"
	as := follow(t, capture(t, name), keylog(t, name+".keylog"))
	var want struct {
		Vars map[string]string
		Tags map[string]struct{ OK, Of int } `json:"verified_auth_tag"`
	}
	load(t, name+".srtp.json", &want)
	if len(as) != 1 {
		t.Fatalf("%d associations", len(as))
	}
	a := as[0]
	_, ck, sk, cs, ss, ok := a.conn.SRTP()
	if s := a.conn.Status(); !ok || s.State != dtls.Decrypted || s.Version != dtls.Version10 ||
		hex.EncodeToString(ck)+hex.EncodeToString(cs) != want.Vars["client_write"] || hex.EncodeToString(sk)+hex.EncodeToString(ss) != want.Vars["server_write"] {
		t.Errorf("keys differ: %+v", s)
	}
	found := 0
	for k, s := range a.streams {
		_, ssrc, _ := strings.Cut(k, " ")
		if s.good != s.packets {
			t.Errorf("%s: %+v", k, s)
		}
		if v, ok := want.Tags[ssrc]; ok && s.good >= v.OK {
			found++
		}
	}
	if found != len(want.Tags) {
		t.Errorf("streams %v", slices.Sorted(maps.Keys(a.streams)))
	}
}

// TestNoKeys: without or with other keys nothing is opened, and the reason is
// told.
func TestNoKeys(t *testing.T) {
	const dir = "lab/s1-webrtc/incoming-pcmu"
	ds := capture(t, dir+"/capture.pcapng")
	other := keylog(t, "lab/s1-webrtc/rtp-wrap/keys-dtls.log")
	for _, v := range []struct {
		name   string
		lookup dtls.Lookup
		state  dtls.State
	}{
		{"none", nil, dtls.NoKey},
		{"other session's", other, dtls.NoKey},
		{"wrong", func(string, *[32]byte) [][]byte { return [][]byte{make([]byte, 48)} }, dtls.WrongKey},
	} {
		as := follow(t, ds, v.lookup)
		if len(as) == 0 {
			t.Fatal("no association")
		}
		for _, a := range as {
			if s := a.conn.Status(); s.State != v.state || s.CipherSuite != 0xc02b || s.SRTPProfile != 8 {
				t.Errorf("%s: %+v", v.name, s)
			}
			if _, _, _, _, _, ok := a.conn.SRTP(); ok || a.opens[0] != nil {
				t.Errorf("%s: keys", v.name)
			}
		}
	}
}

// TestPublic has associations whose versions and suites tshark shows.
func TestPublic(t *testing.T) {
	for _, v := range []struct {
		name    string
		version uint16
		suite   uint16
		state   dtls.State
		note    string
	}{
		{"zeek+zeek/dtls1_0.pcap", dtls.Version10, 0xc014, dtls.NoKey, ""},
		{"zeek+zeek/dtls1_2.pcap", dtls.Version12, 0xc030, dtls.NoKey, ""},
		{"zeek+zeek/dtls13-wolfssl.pcap", dtls.Version13, 0x1301, dtls.Unsupported, "DTLS 1.3"},
		{"ajbanjara+Wireshark/ThreadCommissioning-JPAKE-DTLS-2.pcapng", dtls.Version12, 0xc0ff, dtls.Decrypted, ""},
		{"syncsynchalt+illustrated-dtls/captures_capture.pcap", dtls.Version13, 0x1301, dtls.Unsupported, "DTLS 1.3"},
	} {
		t.Run(v.name, func(t *testing.T) {
			var lookup dtls.Lookup
			if v.state == dtls.Decrypted {
				lookup = keylog(t, "captures/files/"+v.name+".keylog")
			}
			as := follow(t, capture(t, "captures/files/"+v.name), lookup)
			if len(as) != 1 {
				t.Fatalf("%d associations", len(as))
			}
			s := as[0].conn.Status()
			if s.State != v.state || s.Version != v.version || s.CipherSuite != v.suite || v.note != "" && s.Note != v.note || s.Malformed != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestWrap starts a call after its sequence number has wrapped.
func TestWrap(t *testing.T) {
	const dir = "lab/s1-webrtc/rtp-wrap"
	ds := capture(t, dir+"/capture.pcapng")
	for _, drop := range []int{0, 1, 100, 135, 136, 137, 200, 300} {
		seen := 0
		late := slices.DeleteFunc(slices.Clone(ds), func(d datagram) bool {
			if len(d.data) < 12 || hex.EncodeToString(d.data[8:12]) != "6956f647" {
				return false
			}
			seen++
			return seen <= drop
		})
		for _, a := range follow(t, late, keylog(t, dir+"/keys-dtls.log")) {
			for k, s := range a.streams {
				if s.good != s.packets || strings.HasSuffix(k, "6956f647") && s.packets != 348-drop {
					t.Errorf("%d dropped: %s %+v", drop, k, s)
				}
			}
		}
	}
}

// TestSDES has SRTP whose keys stand in SDP, or were published with the
// capture.
func TestSDES(t *testing.T) {
	crypto := regexp.MustCompile(`a=crypto:\d+ (\S+) (inline:\S+)`)
	for _, v := range []struct {
		name string
		keys map[string]string // by SSRC; nil: in the capture's SDP
		want map[string]int
	}{
		{"lab/s2-sip/bs-udp-sdes/capture.pcapng", nil, map[string]int{"c0e6b099": 428, "6b9aad65": 428}},
		{"captures/files/gteissier+srtp-decrypt/marseillaise-srtp.pcap", map[string]string{"deadbeef": "aSBrbm93IGFsbCB5b3VyIGxpdHRsZSBzZWNyZXRz"}, map[string]int{"deadbeef": 60}},
		{"captures/files/veondigital+srtp_decoder/WebRTC_PCMA_p2p_SDES_Call_1.pcap", map[string]string{
			"d092d296": "7SYMKhu8sVMhCr4VXh+ZqkteB01QgqDSgLr4L9iU", "522b93ab": "bhn3DDDcf7GhHEnFkGLW9V223XncT60nJrTQK06x"}, map[string]int{"d092d296": 60, "522b93ab": 60}},
		{"captures/files/sippy+rtpproxy/bob_srtp_out.pcap", map[string]string{"c2f6a014": "NhqBK/JjtVJgmOgPyDKpvMTEjvFCQ4eiyVQelF6x"}, map[string]int{"c2f6a014": 60}},
	} {
		t.Run(filepath.Base(v.name), func(t *testing.T) {
			ds := capture(t, v.name)
			var all []*srtp.Context // of which none is known to belong to a stream
			bySSRC := map[string]*srtp.Context{}
			add := func(suite, params string) *srtp.Context {
				key, salt, mki, err := srtp.ParseSDES(params)
				if err != nil {
					t.Fatal(err)
				}
				c, err := srtp.NewContext(srtp.ProfileOfSDES(suite), key, salt)
				if err != nil {
					t.Fatal(err)
				}
				c.MKILen = mki
				return c
			}
			for ssrc, key := range v.keys {
				bySSRC[ssrc] = add("AES_CM_128_HMAC_SHA1_80", "inline:"+key)
			}
			packets, good := map[string]int{}, map[string]int{}
			for _, d := range ds {
				for _, m := range crypto.FindAllStringSubmatch(string(d.data), -1) {
					all = append(all, add(m[1], m[2]))
				}
				if !rtp.Looks(d.data) {
					continue
				}
				ssrc := hex.EncodeToString(d.data[8:12])
				packets[ssrc]++
				for _, c := range append(all, bySSRC[ssrc]) {
					if c == nil {
						continue
					}
					if _, r := c.Packet(d.data, d.wireLen, nil); r == srtp.Decrypted {
						good[ssrc]++
						break
					}
				}
			}
			for ssrc, want := range v.want {
				if v.keys == nil && packets[ssrc] != want || packets[ssrc] < want || good[ssrc] != packets[ssrc] {
					t.Errorf("%s: %d of %d packets, want %d", ssrc, good[ssrc], packets[ssrc], want)
				}
			}
		})
	}
}

func load(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared, name))
	if err != nil {
		t.Skip(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}
