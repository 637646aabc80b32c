package sdp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Session {
	t.Helper()
	var s Session
	if err := Parse([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func warnings(s *Session) string {
	var all []string
	for _, w := range s.Warnings {
		all = append(all, w.RFC+" "+w.Text)
	}
	return strings.Join(all, "\n")
}

// The example of RFC 8866, 5.
const example = `v=0
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
s=Call to John Smith
i=SDP Offer #1
u=http://www.jdoe.example.com/home.html
e=Jane Doe <jane@jdoe.example.com>
p=+1 617 555-6011
c=IN IP4 198.51.100.1
t=0 0
m=audio 49170 RTP/AVP 0
m=audio 49180 RTP/AVP 0
m=video 51372 RTP/AVP 99
c=IN IP6 2001:db8::2
a=rtpmap:99 h263-1998/90000
`

func TestRFC8866Example(t *testing.T) {
	for _, text := range []string{example, strings.ReplaceAll(example, "\n", "\r\n"), strings.TrimSuffix(example, "\n"), strings.ReplaceAll(example, "\n", "\r")} {
		s := parse(t, text)
		if w := warnings(s); w != "" {
			t.Errorf("warnings %s", w)
		}
		if want := (Origin{"jdoe", "3724394400", "3724394405", Address{netip.MustParseAddr("198.51.100.1"), "198.51.100.1"}}); s.Origin != want {
			t.Errorf("origin %v, want %v", s.Origin, want)
		}
		if s.Name != "Call to John Smith" || len(s.Media) != 3 {
			t.Fatalf("name %q, %d media", s.Name, len(s.Media))
		}
		a, v := s.Media[0], s.Media[2]
		if a.Kind != "audio" || a.Port != 49170 || a.RTCPPort != 49171 || a.Proto != "RTP/AVP" || a.Addr.String() != "198.51.100.1" || a.Direction != SendRecv {
			t.Errorf("audio %+v", a)
		}
		if want := []Codec{{PT: 0, Name: "PCMU", ClockHz: 8000, Channels: 1}}; !slices.Equal(a.Codecs, want) {
			t.Errorf("codecs %v, want %v", a.Codecs, want)
		}
		if v.Addr.IP != netip.MustParseAddr("2001:db8::2") || v.RTCPAddr != v.Addr {
			t.Errorf("video at %v and %v", v.Addr, v.RTCPAddr)
		}
		if want := []Codec{{PT: 99, Name: "h263-1998", ClockHz: 90000, Channels: 1}}; !slices.Equal(v.Codecs, want) {
			t.Errorf("codecs %v, want %v", v.Codecs, want)
		}
	}
}

// An offer in the form that browsers make, with what WebRTC adds.
const browser = `v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=fingerprint:sha-256 AA:BB
a=setup:actpass
m=audio 9 UDP/TLS/RTP/SAVPF 111 0 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 5d1e.local 50001 typ host generation 0
a=candidate:2 1 UDP 1677729535 198.51.100.3 50002 typ srflx raddr 0.0.0.0 rport 0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=mid:0
a=extmap:1/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:126 telephone-event/8000
a=ssrc:1234567890 cname:x
a=ssrc:1234567890 msid:y z
a=maxptime:60
m=application 0 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=bundle-only
a=mid:1
`

func TestBrowser(t *testing.T) {
	s := parse(t, browser)
	if w := warnings(s); w != "" {
		t.Errorf("warnings %s", w)
	}
	a, d := s.Media[0], s.Media[1]
	if a.Setup != "actpass" || a.Fingerprint != "sha-256 AA:BB" || a.ICEUfrag != "abcd" || a.ICEPwd == "" || a.Mid != "0" || !a.RTCPMux || a.RTCPPort != 9 || a.Direction != SendOnly || a.MaxPtime != 60 {
		t.Errorf("audio %+v", a)
	}
	if a.Held() {
		t.Error("0.0.0.0 before the candidates is taken for hold")
	}
	want := []Codec{
		{111, "opus", 48000, 2, "minptime=10;useinbandfec=1"},
		{0, "PCMU", 8000, 1, ""},
		{126, "telephone-event", 8000, 1, ""},
	}
	if !slices.Equal(a.Codecs, want) || !slices.Equal(a.Formats, []int{111, 0, 126}) {
		t.Errorf("codecs %v, want %v", a.Codecs, want)
	}
	if !slices.Equal(a.SSRCs, []uint32{1234567890}) {
		t.Errorf("SSRCs %v", a.SSRCs)
	}
	if !slices.Equal(a.ExtMap, []ExtMap{{1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"}}) {
		t.Errorf("extmap %v", a.ExtMap)
	}
	wantCandidates := []Candidate{
		{"1", 1, "udp", 2113937151, Address{Host: "5d1e.local"}, 50001, "host"},
		{"2", 1, "UDP", 1677729535, Address{netip.MustParseAddr("198.51.100.3"), "198.51.100.3"}, 50002, "srflx"},
	}
	if !slices.Equal(a.Candidates, wantCandidates) {
		t.Errorf("candidates %v", a.Candidates)
	}
	if len(d.Formats) != 0 || d.FormatText != "webrtc-datachannel" || d.Rejected() || d.Setup != "actpass" {
		t.Errorf("data %+v", d)
	}
	if !slices.Equal(s.Groups, []string{"BUNDLE 0 1"}) {
		t.Errorf("groups %v", s.Groups)
	}
}

func TestTolerance(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n"
	for _, c := range []struct {
		name, in string
		warn     []string
		check    func(s *Session) string // empty when all is right
	}{
		{"origin without numbers", "v=0\no=root abc def IN IP4 h.example\ns=x\nt=0 0\n", []string{"8866 5.2 session ID"},
			func(s *Session) string { return differ(s.Origin.SessionID+" "+s.Origin.Addr.Host, "abc h.example") }},
		{"origin user with spaces", "v=0\no=a b c 1 2 IN IP4 192.0.2.1\ns=x\nt=0 0\n", []string{"8866 5.2 origin has more"},
			func(s *Session) string { return differ(s.Origin.Username, "a b c") }},
		{"short origin", "v=0\no=- 7\ns=x\nt=0 0\n", []string{"8866 5.2 origin has less"},
			func(s *Session) string { return differ(s.Origin.Username+s.Origin.SessionID, "-7") }},
		{"only c= and m=", "c=IN IP4 192.0.2.1\nm=audio 49217 RTP/AVP 0 12\n", []string{"8866 5.1 no v=", "8866 5.2 no o=", "8866 5.3 no s=", "8866 5.9 no t="},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Formats), "[0 12]") }},
		{"unknown lines", head + "x=1\nhello\nm=audio 2 RTP/AVP 0\nY=\n", []string{"8866 5 unknown", "8866 5 line is not", "8866 5 unknown"},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Port), "2") }},
		{"order", "v=0\nt=0 0\na=sendonly\nb=AS:64\nc=IN IP4 192.0.2.9\ns=x\no=- 1 1 IN IP4 192.0.2.1\nm=audio 2 RTP/AVP 0\na=ptime:20\nb=TIAS:64\nc=IN IP4 192.0.2.2\n", nil,
			func(s *Session) string {
				m := s.Media[0]
				return differ(fmt.Sprint(s.Connection, m.Addr, m.Direction, m.Ptime), "192.0.2.9 192.0.2.2 sendonly 20")
			}},
		{"white space before equals sign", head + "m =video 3227 RTP/AVP 31\na=rtpmap:31 LPC\n", []string{"8866 5 white space", "8866 6 rtpmap"},
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].Kind, s.Media[0].Codecs), "video[{31 LPC 0 1 }]")
			}},
		{"rejected", head + "m=audio 0 RTP/AVP 0\n", nil,
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].Rejected(), s.Media[0].RTCPPort), "true 0")
			}},
		{"hold", head + "m=audio 4 RTP/AVP 0\nc=IN IP4 0.0.0.0\n", nil,
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Held()), "true") }},
		{"no hold", head + "m=audio 4 RTP/AVP 0\n", nil,
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Held()), "false") }},
		{"host name", head + "m=audio 4 RTP/AVP 0\nc=IN IP4 media.example.com\n", nil,
			func(s *Session) string {
				a := s.Media[0].Addr
				return differ(fmt.Sprint(a, a.IP.IsValid()), "media.example.com false")
			}},
		{"multicast", head + "m=audio 4/2 RTP/AVP 0\nc=IN IP4 233.252.0.1/127/3\n", nil,
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].Addr, s.Media[0].NumPorts), "233.252.0.1 2")
			}},
		{"mapped address", head + "m=audio 4 RTP/AVP 0\nc=IN IP6 ::ffff:192.0.2.7\n", nil,
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Addr.IP.Is4()), "true") }},
		{"rtcp", head + "m=audio 4 RTP/AVP 0\na=rtcp:53020 IN IP6 2001:db8::9\n", nil,
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].RTCPPort, s.Media[0].RTCPAddr), "53020 2001:db8::9")
			}},
		{"crypto", head + "m=audio 4 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc|2^20|1:4 FEC_ORDER=FEC_SRTP\na=crypto:x\n", []string{"8866 6 crypto"},
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].Crypto), "[{1 AES_CM_128_HMAC_SHA1_80 inline:abc|2^20|1:4 FEC_ORDER=FEC_SRTP}]")
			}},
		{"bad port", head + "m=audio 70000 RTP/AVP 0\nm=audio $ RTP/AVP 0\nm=audio\n", []string{"8866 5.14 port", "8866 5.14 port", "8866 5.14 port", "8866 5.14 media line"},
			func(s *Session) string { return differ(fmt.Sprint(len(s.Media), s.Media[0].Port), "3 0") }},
		{"bad formats", head + "m=audio 4 RTP/AVP 0 128 x 0\n", []string{"3551 6", "3551 6", "8866 5.14 payload type is repeated"},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Formats), "[0]") }},
		{"fax", head + "m=image 4 udptl t38\na=T38FaxVersion:0\na=rtpmap:0 x/1\n", nil,
			func(s *Session) string {
				return differ(fmt.Sprint(s.Media[0].FormatText, s.Media[0].Formats, s.Media[0].Codecs), "t38[] []")
			}},
		{"rtpmap of a type not listed", head + "m=audio 4 RTP/AVP 0\na=rtpmap:97 speex/8000\n", []string{"8866 6.6 rtpmap or fmtp for"},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Codecs[1]), "{97 speex 8000 1 }") }},
		{"two fmtp", head + "m=audio 4 RTP/AVP 101\na=fmtp:101 0-15\na=fmtp:101 16\na=rtpmap:101 telephone-event/8000\n", nil,
			func(s *Session) string { return differ(s.Media[0].Codecs[0].Fmtp, "0-15;16") }},
		{"odd ptimes", head + "m=audio 4 RTP/AVP 0\na=ptime:x\na=ptime:0x10\na=maxptime:-1\na=ptime:22.5\n", []string{"8866 6 packet", "8866 6 packet", "8866 6 packet"},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].Ptime, s.Media[0].MaxPtime), "22.5 0") }},
		{"odd ssrc, candidate, extmap", head + "m=audio 4 RTP/AVP 0\na=ssrc:4294967296 x\na=candidate:1\na=extmap:x\n", []string{"8866 6 ssrc", "8866 6 candidate", "8866 6 extmap"},
			func(s *Session) string { return differ(fmt.Sprint(s.Media[0].SSRCs), "[]") }},
		{"attribute at the wrong level", "v=0\na=ptime:20\na=rtpmap:0 PCMU/8000\n" + head[4:], []string{"8866 6 attribute", "8866 6.6 rtpmap"}, func(s *Session) string { return "" }},
		{"no connection", "v=0\no=- 1 1 IN IP4 h\ns=-\nt=0 0\nm=audio 4 RTP/AVP 0\n", []string{"8866 5.7 medium without"}, func(s *Session) string { return "" }},
		{"two descriptions", head + "m=audio 4 RTP/AVP 0\nv=0\nm=audio 5 RTP/AVP 0\n", []string{"8866 5 a second"},
			func(s *Session) string { return differ(fmt.Sprint(len(s.Media)), "1") }},
		{"garbage", head + "\xff\xfe=\x00\n=\n==\na\nm=\xff \xff \xff\n", []string{"8866 5 line", "8866 5 line", "8866 5 line", "8866 5 line", "8866 5.14 port", "8866 5.14 media"}, func(s *Session) string { return "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parse(t, c.in)
			got := strings.Split(warnings(s), "\n")
			if len(s.Warnings) == 0 {
				got = nil
			}
			if !slices.EqualFunc(got, c.warn, strings.HasPrefix) {
				t.Errorf("warnings %q, want %q", got, c.warn)
			}
			if d := c.check(s); d != "" {
				t.Error(d)
			}
		})
	}
}

func differ(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("got %q, want %q", got, want)
}

func TestRefused(t *testing.T) {
	for _, in := range []string{"", "\r\n\r\n", "hello", "\x00\x01\x02", strings.Repeat("v=0\n", 1<<18+1)} {
		var s Session
		if err := Parse([]byte(in), &s); err == nil {
			t.Errorf("%.20q is taken for a description", in)
		}
	}
}

// A Session that was used before gives the same result as a new one.
func TestReuse(t *testing.T) {
	var s Session
	for _, text := range []string{browser, example, browser, "m=audio 4 RTP/AVP 8\n"} {
		if err := Parse([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", *parse(t, text)); got != want {
			t.Errorf("reused %s\nnew    %s", got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	s := parse(t, strings.Repeat("m=audio 4 RTP/AVP 0\n", 2000)+"x\n")
	if len(s.Media) != maxMedia || len(s.Warnings) > maxWarnings {
		t.Errorf("%d media and %d warnings", len(s.Media), len(s.Warnings))
	}
	s = parse(t, "m=audio 4 RTP/AVP 0\n"+strings.Repeat("a=candidate:1 1 udp 1 h 1 typ host\na=crypto:1 a b\na=extmap:1 u\na=group:x\n", 2000))
	if m := s.Media[0]; len(m.Candidates) != maxItems || len(m.Crypto) != maxItems || len(m.ExtMap) != maxItems || len(s.Groups) != maxItems {
		t.Errorf("lists of %d, %d, %d, %d", len(m.Candidates), len(m.Crypto), len(m.ExtMap), len(s.Groups))
	}
}

// RFC 3551, tables 4 and 5, written out a second time.
func TestStaticCodec(t *testing.T) {
	want := map[int]string{0: "PCMU/8000", 3: "GSM/8000", 4: "G723/8000", 5: "DVI4/8000", 6: "DVI4/16000", 7: "LPC/8000", 8: "PCMA/8000",
		9: "G722/8000", 10: "L16/44100", 11: "L16/44100", 12: "QCELP/8000", 13: "CN/8000", 14: "MPA/90000", 15: "G728/8000", 16: "DVI4/11025",
		17: "DVI4/22050", 18: "G729/8000", 25: "CelB/90000", 26: "JPEG/90000", 28: "nv/90000", 31: "H261/90000", 32: "MPV/90000",
		33: "MP2T/90000", 34: "H263/90000"}
	for pt := -1; pt < 260; pt++ {
		name, clock, ok := StaticCodec(pt)
		if got := fmt.Sprintf("%s/%d", name, clock); ok != (want[pt] != "") || ok && got != want[pt] {
			t.Errorf("payload type %d is %s %v, want %q", pt, got, ok, want[pt])
		}
	}
	if c := staticCodec(10); c.Channels != 2 {
		t.Errorf("payload type 10 has %d channels, want 2", c.Channels)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(browser))
	f.Add([]byte("v=0\r\no=x\r\nm =audio 1/2 RTP/SAVP 0 101\r\na=crypto:1 S inline:k\r\na=rtcp:2 IN IP4 h\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Session
		if err := Parse(b, &s); err != nil {
			return
		}
		_ = s.Connection.String() + s.Origin.Addr.String() + s.Direction.String()
		for _, w := range s.Warnings {
			if w.Off < 0 || w.Off >= len(b) || w.RFC == "" || w.Text == "" {
				t.Fatalf("warning %v", w)
			}
		}
		for i := range s.Media {
			m := &s.Media[i]
			if m.Direction == DirectionUnknown || m.Port < 0 || m.Port > 65535 || m.RTCPPort < 0 || m.RTCPPort > 65535 || m.NumPorts < 1 || len(m.Codecs) < len(m.Formats) {
				t.Fatalf("%+v", m)
			}
			for j, pt := range m.Formats {
				if m.Codecs[j].PT != pt || pt < 0 || pt > 127 {
					t.Fatalf("formats %v, codecs %v", m.Formats, m.Codecs)
				}
			}
			m.Held()
			m.Rejected()
		}
		before := fmt.Sprintf("%+v", s)
		if Parse(b, &s) != nil || fmt.Sprintf("%+v", s) != before {
			t.Fatal("parsing into the same Session gives another result")
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"trunk", example}, {"browser", browser}} {
		b.Run("in="+c.name, func(b *testing.B) {
			in := []byte(c.text)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			var s Session
			for b.Loop() {
				if err := Parse(in, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
