package decode_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/stun"
	"github.com/twtrace/twtrace/decode/tls"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clientHello is a TLS 1.3 ClientHello in its record: one suite, and the
// server name voice-js.example.
func clientHello() string {
	name := "voice-js.example"
	sni := "\x00\x00\x00" + string(rune(len(name)+5)) + "\x00" + string(rune(len(name)+3)) + "\x00\x00" + string(rune(len(name))) + name
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + "\x00" + string(rune(len(sni))) + sni
	hs := "\x01\x00\x00" + string(rune(len(body))) + body
	return "\x16\x03\x01\x00" + string(rune(len(hs))) + hs
}

// vectors are one message of each format, and the kind of event that a UDP
// datagram of it between ports without a meaning becomes; bad is none.
func vectors(t testing.TB) []struct {
	name  string
	looks string
	kind  decode.Kind
	data  []byte
} {
	return []struct {
		name  string
		looks string
		kind  decode.Kind
		data  []byte
	}{
		{"RTP, RFC 3550 5.1, PCMU", "rtp", decode.EventRTP, rtpPacket(1, 0x11223344)},
		{"RTP with the marker and a dynamic type", "rtp", decode.EventRTP, append([]byte{0x80, 0xE5}, rtpPacket(1, 7)[2:]...)},
		{"RTP with padding, extension and two CSRCs", "rtp", decode.EventRTP, unhex(t, "B2 6F 0001 00000001 11223344 00000001 00000002 BEDE 0001 10FF0000 AABBCC01")},
		{"RTCP SR, RFC 3550 6.4.1", "rtcp", decode.EventRTCP, unhex(t, "80C80006 11223344 E4000000 80000000 00001000 00000001 000000A0")},
		{"RTCP RR and SDES, RFC 3550 6.4.2, 6.5", "rtcp", decode.EventRTCP, unhex(t, "81C90007 11223344 55667788 01000001 00000064 00000010 00000000 00000000 81CA0003 11223344 01046140 62630000")},
		{"RTCP PLI, RFC 4585 6.3.1", "rtcp", decode.EventRTCP, unhex(t, "81CE0002 11223344 55667788")},
		{"STUN request, RFC 5769 2.1", "stun", decode.EventSTUN, unhex(t, `000100582112a442b7e7a701bc34d686fa87dfae80220010
			5354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020
			000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf`)},
		{"STUN indication, RFC 8489 5", "stun", decode.EventSTUN, unhex(t, "001100002112a442b7e7a701bc34d686fa87dfae")},
		{"STUN request, RFC 3489 11.1", "classic", decode.EventSTUN, unhex(t, "00010008 000102030405060708090a0b0c0d0e0f 00030004 00000000")},
		{"DTLS 1.2 handshake record, RFC 6347 4.1", "", decode.EventDTLS, append(unhex(t, "16fefd 0000 000000000000 0010 01000004 0000 000000 000004"), "abcd"...)},
		{"DTLS application data", "", decode.EventDTLS, append(unhex(t, "17fefd 0001 000000000001 0010"), "0123456789abcdef"...)},
		{"ChannelData, RFC 8656 12.4", "channel", decode.EventBad, unhex(t, "4000 0004 01020304")},
		{"QUIC Initial, RFC 9001 A.2", "", decode.EventBad, unhex(t, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c")},
		{"QUIC Retry, RFC 9001 A.4", "", decode.EventBad, unhex(t, "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba")},
		{"QUIC short header, RFC 9001 A.5", "", decode.EventBad, unhex(t, "4cfe4189655e5cd55c41f69080575d7999c25a5bfb")},
		{"SIP request, RFC 3261 7.1", "sip", decode.EventSIP, []byte(invite("c1"))},
		{"SIP response, RFC 3261 7.2", "sip", decode.EventSIP, []byte(sipText("SIP/2.0 180 Ringing", "c1", "1 INVITE", ""))},
		{"SIP request after CRLF, RFC 5626 3.5.1", "sip", decode.EventSIP, []byte("\r\n\r\n" + options("c2"))},
		{"DNS query, RFC 1035 4.1", "dns", decode.EventBad, unhex(t, "1dea 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001")},
		{"DNS answer", "dns", decode.EventBad, unhex(t, "1dea 8180 0001 0001 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001 c00c 0001 0001 00000e10 0004 c0000201")},
		{"HTTP request, RFC 9112 3", "http", decode.EventBad, []byte("GET /2010-04-01/Accounts.json HTTP/1.1\r\nHost: api.example\r\n\r\n")},
		{"HTTP response, RFC 9112 4", "http", decode.EventBad, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
		{"TLS ClientHello, RFC 8446 4.1.2", "tls", decode.EventBad, []byte(clientHello())},
		{"TLS alert, RFC 8446 6", "tls", decode.EventBad, unhex(t, "15 0303 0002 0100")},
		{"keep-alive, RFC 5626 4.4.1", "", decode.EventBad, []byte("\r\n\r\n")},
		{"SSH banner, RFC 4253 4.2", "", decode.EventBad, []byte("SSH-2.0-OpenSSH_9.6\r\n")},
	}
}

func TestLooksCollisions(t *testing.T) {
	looks := []struct {
		name string
		f    func([]byte) bool
	}{
		{"rtp", rtp.Looks}, {"rtcp", rtcp.Looks}, {"stun", stun.Looks}, {"classic", stun.LooksClassic}, {"channel", stun.LooksChannelData},
		{"sip", sip.Looks}, {"dns", dns.Looks}, {"http", http.Looks}, {"tls", tls.Looks},
	}
	for _, v := range vectors(t) {
		var got []string
		for _, l := range looks {
			if l.f(v.data) {
				got = append(got, l.name)
			}
		}
		if strings.Join(got, " ") != v.looks {
			t.Errorf("%s: looks like %q, want %q", v.name, got, v.looks)
		}
	}
}

func TestDemuxUDP(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			r := readOne(t, packet{src: "10.0.0.1:40000", dst: "10.0.0.2:40002", payload: v.data})
			want := ""
			if v.kind != decode.EventBad {
				want = v.kind.String()
			}
			if r.kinds() != want {
				t.Errorf("events %q, want %q", r.kinds(), want)
			}
			if n := r.ledger("udp", "unknown payload"); (n == 1) != (want == "") {
				t.Errorf("%d unknown payloads", n)
			}
			// the same bytes to port 53 are DNS when they are DNS, and no other format is shadowed by the port
			r = readOne(t, packet{src: "10.0.0.1:40000", dst: "10.0.0.2:53", payload: v.data})
			if v.looks == "dns" {
				want = "dns"
			}
			if r.kinds() != want {
				t.Errorf("to port 53: events %q, want %q", r.kinds(), want)
			}
		})
	}
}

// A TURN channel has no mark of its own: the flow must have shown STUN before.
func TestDemuxChannelData(t *testing.T) {
	request := unhex(t, "000300002112a442b7e7a701bc34d686fa87dfae") // Allocate, RFC 8656 7.1
	channel := unhex(t, "4000 0004 01020304")
	p := func(at int64, b []byte) packet {
		return packet{src: "10.0.0.1:40000", dst: "10.0.0.2:3478", at: at, id: uint16(at), payload: b}
	}
	r := readOne(t, p(0, channel), p(1, request), p(2, channel))
	if r.ledger("udp", "unknown payload") != 1 || r.ledger("udp", "used") != 2 {
		t.Errorf("ledger %v: want the channel used only after STUN", r.dec.Ledger().Rows())
	}
}

func TestDemuxTCP(t *testing.T) {
	for _, v := range vectors(t) {
		want := map[string]string{"sip": "sip", "http": "http", "tls": "tls"}[v.looks]
		if v.name == "TLS alert, RFC 8446 6" {
			want = ""
		}
		c := dial("10.0.0.1:40000", "10.0.0.2:40002", 0)
		c.send(0, string(v.data))
		c.close()
		if r := readOne(t, c.packets...); r.kinds() != want {
			t.Errorf("%s: events %q, want %q", v.name, r.kinds(), want)
		}
	}
}
