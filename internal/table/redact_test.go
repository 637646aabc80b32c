package table

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/sessions"
)

func TestEveryTextColumnIsClassified(t *testing.T) {
	used := map[string]bool{}
	for i := range specs {
		for k := range specs[i].cols {
			c := &specs[i].cols[k]
			if c.kind != kindText && c.kind != kindTexts {
				continue
			}
			if classOf(specs[i].schema.Name, c) == 0 {
				t.Errorf("%s.%s has no class", specs[i].schema.Name, c.Name)
			}
			used[c.Name], used[specs[i].schema.Name+"."+c.Name] = true, true
		}
	}
	for name := range classes {
		if !used[name] {
			t.Errorf("class for %s, which is no text column", name)
		}
	}
}

// secrets are what no redacted output may hold.
var secrets = []string{
	"15550101234", "5550101234", "alice.liddell", "Alice Liddell", "bob", "192.0.2.77", "2001:db8:7::beef", "CA0123456789abcdef0123456789abcdef",
	"SM00112233445566778899aabbccddeeff", "AC99999999999999999999999999999999", "a84b4c76e66710@pc33.atlanta.example.org", "pc33", "atlanta", "acme-corp", "Liddell", "extension77",
}

// dirty fills every text column with originals, and lists alike.
func dirty() *Dataset {
	byClass := map[class][]string{
		classParty: {"+15550101234", "client:alice.liddell", `"Alice Liddell" <sip:alice.liddell@atlanta.example.org:5060;transport=tls>`, "sip:bob@192.0.2.77", "whatsapp:+15550101234",
			"AC99999999999999999999999999999999", "sip:+15550101234@acme-corp.sip.twilio.com", "extension77"},
		classSID:    {"CA0123456789abcdef0123456789abcdef", "SM00112233445566778899aabbccddeeff", "AC99999999999999999999999999999999"},
		classCallID: {"CA0123456789abcdef0123456789abcdef", "a84b4c76e66710@pc33.atlanta.example.org", "leg-7"},
		classHost:   {"192.0.2.77", "2001:db8:7::beef", "pc33.atlanta.example.org", "acme-corp.sip.twilio.com", "*.atlanta.example.org"},
		classFree: {
			"INVITE sip:bob@192.0.2.77 SIP/2.0\r\nFrom: \"Alice Liddell\" <sip:alice.liddell@atlanta.example.org>;tag=1\r\nCall-ID: a84b4c76e66710@pc33.atlanta.example.org\r\n",
			"POST /Accounts/AC99999999999999999999999999999999/Calls To=%2B15550101234&From=client:alice.liddell",
			`sip.Call-ID == "a84b4c76e66710@pc33.atlanta.example.org" && ip.addr == 192.0.2.77 && ipv6.addr==2001:db8:7::beef`,
			`{"who":"Alice Liddell","number":"+1 555-010-1234","n":"15550101234"}`,
			"calls/CA0123456789abcdef0123456789abcdef/+15550101234.json", "alice.liddell calls bob on extension77",
		},
		classKeep: {"in-progress"},
	}
	d := new(Dataset)
	for i := range specs {
		sp := &specs[i]
		const n = 8
		rows := reflect.MakeSlice(reflect.SliceOf(sp.row), n, n)
		for j := range n {
			for k := range sp.cols {
				c := &sp.cols[k]
				f := rows.Index(j).Field(c.field)
				switch c.kind {
				case kindText:
					list := byClass[classOf(sp.schema.Name, c)]
					c.setText(rowOf(rows, j), list[j%len(list)], nil)
				case kindEnum:
					f.SetString(c.Enum[j%len(c.Enum)])
				case kindTexts:
					f.Set(reflect.ValueOf(append([]string(nil), byClass[classOf(sp.schema.Name, c)]...)))
				}
			}
		}
		sp.set(d, rows)
	}
	return d
}

func TestRedact(t *testing.T) {
	d := dirty()
	d.Redact([]byte("k"))
	for _, s := range Schemas() {
		for _, f := range []Format{FormatTable, FormatCSV, FormatJSON, FormatNDJSON, FormatArrow} {
			var b bytes.Buffer
			if err := Write(&b, d, s.Name, f, View{}); err != nil {
				t.Fatal(err)
			}
			find := func(text string) {
				for _, secret := range secrets {
					if i := strings.Index(text, secret); i >= 0 {
						t.Errorf("%s as %s holds %s: %.120q", s.Name, f, secret, text[max(0, i-40):])
					}
				}
			}
			find(b.String())
		}
	}
	m := memDir{}
	if _, err := WriteDir(m.create, d, true, 1); err != nil {
		t.Fatal(err)
	}
	back, err := ReadDir(m.fs()) // pages are compressed: look at what is read
	if err != nil {
		t.Fatal(err)
	}
	for name := range m {
		for _, secret := range secrets {
			if strings.Contains(name, secret) {
				t.Errorf("file %s holds %s", name, secret)
			}
		}
	}
	for _, s := range Schemas() {
		var b bytes.Buffer
		if err := Write(&b, back, s.Name, FormatNDJSON, View{}); err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s read from parquet holds %s", s.Name, secret)
			}
		}
	}

	again, other := dirty(), dirty()
	again.Redact([]byte("k"))
	other.Redact([]byte("l"))
	if !same(d, again) {
		t.Error("the same key gave other pseudonyms")
	}
	if same(d, other) {
		t.Error("another key gave the same pseudonyms")
	}
}

func TestRedactKeepsJoinsAndShapes(t *testing.T) {
	const sid = "CA0123456789abcdef0123456789abcdef"
	d := &Dataset{
		Calls:         []sessions.Call{{CallID: sid, CallSID: sid, From: "+15550101234", To: "client:alice"}, {CallID: "leg-1", RootCallID: sid, From: "15550101234", To: "sip:alice@a.example"}},
		CallResources: []sessions.CallResource{{SID: sid, From: "+1 (555) 010-1234", To: "client:alice"}},
		Signals: packed.Of([]sessions.Signal{
			{CallID: sid, Label: "200 OK", Kind: "INVITE", Detail: packed.NewText("SIP/2.0 200 OK\nVersion 1.2\nsession 10.0.0.12, 10.0.0.1: and 10.0.0.1:5060 [2001:db8::1]:5061 at 12:30:45"), Src: "10.0.0.1", Dst: "2001:db8::1"},
			{Label: "+15550101234", Src: "10.0.0.12", Dst: "10.0.128.1"},
			{Detail: packed.NewText("To: 100 <sip:100@10.0.0.1>\r\n"), Label: "100 Trying"},
		}...),
		Hosts:  []sessions.Host{{Address: "10.0.0.1", Names: []string{"eu.acme.sip.twilio.com", "us.acme.sip.twilio.com", "twilio.com", "www.example.org", "a.www.example.org"}}},
		Inputs: []decode.Input{{Experiment: "calls-200-run-3", File: "capture1.pcap", SHA256: "ab"}},
	}
	shared := d.Hosts[0].Names
	d.Redact([]byte("key"))
	c, res, s := d.Calls, d.CallResources[0], d.Signals.Slice()
	if c[0].CallID != res.SID || c[0].CallID != c[0].CallSID || c[1].RootCallID != res.SID || s[0].CallID != res.SID || !isSID(res.SID) || res.SID[:2] != "CA" || res.SID == sid {
		t.Errorf("SIDs: %+v", res.SID)
	}
	if c[1].CallID != "leg-1" {
		t.Errorf("leg-1 became %s", c[1].CallID)
	}
	if len(c[0].From) != 12 || c[0].From[0] != '+' || c[0].From[1:] != c[1].From || c[0].From == "+15550101234" || s[1].Label != c[0].From {
		t.Errorf("numbers: %s %s %s", c[0].From, c[1].From, s[1].Label)
	}
	if got := strings.NewReplacer(" ", "", "(", "", ")", "", "-", "").Replace(res.From); got != c[0].From || len(res.From) != len("+1 (555) 010-1234") {
		t.Errorf("spaced number: %s, wanted %s", res.From, c[0].From)
	}
	if c[0].To != res.To || !strings.HasPrefix(c[0].To, "client:name-") || !strings.HasPrefix(c[1].To, "sip:"+strings.TrimPrefix(c[0].To, "client:")+"@h") {
		t.Errorf("names: %s %s", c[0].To, c[1].To)
	}
	if s[0].Label != "200 OK" || s[2].Label != "100 Trying" || s[0].Kind != "INVITE" {
		t.Errorf("protocol words were changed: %q %q %q", s[0].Label, s[2].Label, s[0].Kind)
	}
	want := fmt.Sprintf("SIP/2.0 200 OK\nVersion 1.2\nsession %s, %s: and %s:5060 [%s]:5061 at 12:30:45", s[1].Src, s[0].Src, s[0].Src, s[0].Dst)
	if got := s[0].Detail.String(); got != want {
		t.Errorf("detail %q, wanted %q", got, want)
	}
	if d.Hosts[0].Address != s[0].Src {
		t.Error("an address differs between tables")
	}
	common := func(a, b string) int {
		x, y := netip.MustParseAddr(a).AsSlice(), netip.MustParseAddr(b).AsSlice()
		n := 0
		for n < 8*len(x) && (x[n/8]^y[n/8])&(0x80>>(n%8)) == 0 {
			n++
		}
		return n
	}
	if got, want := common(s[0].Src, s[1].Src), common("10.0.0.1", "10.0.0.12"); got != want {
		t.Errorf("common prefix %d, wanted %d", got, want)
	}
	if got, want := common(s[0].Src, s[1].Dst), common("10.0.0.1", "10.0.128.1"); got != want {
		t.Errorf("common prefix %d, wanted %d", got, want)
	}
	n := d.Hosts[0].Names
	tail := func(s string) string { _, t, _ := strings.Cut(s, "."); return t }
	if !strings.HasSuffix(n[0], ".twilio.com") || tail(n[0]) != tail(n[1]) || n[0] == n[1] || n[2] != "twilio.com" || !strings.HasSuffix(n[3], ".invalid") || tail(n[4]) != n[3] {
		t.Errorf("hosts: %q", n)
	}
	if shared[0] != "eu.acme.sip.twilio.com" {
		t.Error("a shared list was changed")
	}
	if d.Inputs[0].File != "capture1.pcap" || d.Inputs[0].Experiment != "calls-200-run-3" {
		t.Errorf("%+v", d.Inputs[0])
	}
}

// The address map is one to one: Xu et al., section 3.
func TestAddressMapIsOneToOne(t *testing.T) {
	d := new(Dataset)
	for i := range 1 << 10 {
		d.Hosts = append(d.Hosts, sessions.Host{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()})
	}
	d.Redact(nil)
	seen := map[string]bool{}
	for _, h := range d.Hosts {
		if seen[h.Address] {
			t.Fatalf("%s twice", h.Address)
		}
		seen[h.Address] = true
	}
}

func FuzzRedact(f *testing.F) {
	signals := dirty().Signals
	for _, s := range signals.All() {
		f.Add(s.Detail.String(), s.Label)
	}
	f.Add("::1 ::ffff:1.2.3.4 1.2.3.4.5 [::]:5 +12 (3", "+")
	f.Fuzz(func(t *testing.T, detail, from string) {
		d := &Dataset{Signals: packed.Of(sessions.Signal{Detail: packed.NewText(detail), Src: from}), Calls: []sessions.Call{{From: from, CallID: detail, To: "+15550101234"}}, Oddities: []sessions.Oddity{{Text: from + " " + hex.EncodeToString([]byte(detail)) + " +15550101234"}}}
		d.Redact([]byte("k"))
		if strings.Contains(d.Oddities[0].Text, "+15550101234") {
			t.Errorf("%q", d.Oddities[0].Text)
		}
	})
}
