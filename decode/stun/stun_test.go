package stun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The test vectors of RFC 5769, 2.1 to 2.3.
const (
	sampleRequest = `00010058 2112a442 b7e7a701bc34d686fa87dfae
		80220010 5354554e207465737420636c69656e74
		00240004 6e0001ff
		80290008 932ff9b151263b36
		00060009 6576746a3a68367659 202020
		00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
		80280004 e57a3bcf`
	sampleIPv4 = `0101003c 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f72 20
		00200008 0001a147e112a643
		00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
		80280004 c07d4c96`
	sampleIPv6 = `01010048 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f72 20
		00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9
		00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
		80280004 c8fb0b4c`
	password = "VOkJxbRl1RmTxUk/WvJxBt"
)

func decode(t *testing.T, s string) *Message {
	t.Helper()
	var m Message
	if err := Decode(unhex(t, s), &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestRFC5769(t *testing.T) {
	req := decode(t, sampleRequest)
	if req.Type != 1 || req.Method != MethodBinding || req.Class != ClassRequest || req.Length != 88 || req.Classic || req.Truncated {
		t.Errorf("request is %+v", req)
	}
	if hex.EncodeToString(req.TransactionID[:]) != "b7e7a701bc34d686fa87dfae" {
		t.Errorf("transaction is %x", req.TransactionID)
	}
	if string(req.Software) != "STUN test client" || string(req.Username) != "evtj:h6vY" {
		t.Errorf("software %q, username %q", req.Software, req.Username)
	}
	if !req.HasPriority || req.Priority != 0x6e0001ff || !req.IceControlled || req.IceControlling || req.TieBreaker != 0x932ff9b151263b36 || req.UseCandidate {
		t.Errorf("request is %+v", req)
	}
	for _, tt := range []struct {
		name, hex, addr string
	}{
		{"request", sampleRequest, "invalid AddrPort"},
		{"IPv4 response", sampleIPv4, "192.0.2.1:32853"},
		{"IPv6 response", sampleIPv6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
	} {
		m := decode(t, tt.hex)
		if m.XORMappedAddress.String() != tt.addr {
			t.Errorf("%s: address is %s, want %s", tt.name, m.XORMappedAddress, tt.addr)
		}
		if !Looks(unhex(t, tt.hex)) || LooksClassic(unhex(t, tt.hex)) {
			t.Errorf("%s: does not look like STUN with cookie", tt.name)
		}
		if !m.HasFingerprint || !m.VerifyFingerprint() {
			t.Errorf("%s: fingerprint refused", tt.name)
		}
		if !m.HasMessageIntegrity || !m.VerifyIntegrity([]byte(password)) {
			t.Errorf("%s: message integrity refused", tt.name)
		}
		if m.VerifyIntegrity([]byte("another")) {
			t.Errorf("%s: another password accepted", tt.name)
		}
		for _, i := range []int{1, 9, 30, len(m.raw) - 1} {
			b := unhex(t, tt.hex)
			b[i] ^= 1
			var bad Message
			if err := Decode(b, &bad); err == nil && bad.VerifyFingerprint() {
				t.Errorf("%s: fingerprint accepted with byte %d changed", tt.name, i)
			}
		}
	}
	if m := decode(t, sampleIPv4); m.Class != ClassSuccess || string(m.Software) != "test vector" {
		t.Errorf("response is %+v", m)
	}
}

// message puts a header with magic cookie before attributes.
func message(typ string, attrs string) string {
	n := len(strings.ReplaceAll(attrs, " ", "")) / 2
	return typ + hex.EncodeToString([]byte{byte(n >> 8), byte(n)}) + "2112a442 000102030405060708090a0b" + attrs
}

func TestAttributes(t *testing.T) {
	tests := []struct {
		name, hex string
		check     func(*Message) bool
	}{
		{"plain and XOR address", message("0101", "00010008 0001 8055 c0000201 00200008 0001 a147 e112a643"),
			func(m *Message) bool {
				return m.MappedAddress == m.XORMappedAddress && m.MappedAddress == netip.MustParseAddrPort("192.0.2.1:32853")
			}},
		{"XOR address of the drafts", message("0101", "80200008 0001 a147 e112a643"),
			func(m *Message) bool { return m.XORMappedAddress == netip.MustParseAddrPort("192.0.2.1:32853") }},
		{"plain IPv6", message("0101", "00010014 0002 0035 20010db8000000000000000000000001"),
			func(m *Message) bool { return m.MappedAddress == netip.MustParseAddrPort("[2001:db8::1]:53") }},
		{"allocate answer", message("0103", "00160008 0001 a147 e112a643 000d0004 00000258"),
			func(m *Message) bool {
				return m.Method == MethodAllocate && m.XORRelayedAddress.Port() == 32853 && m.HasLifetime && m.Lifetime == 600
			}},
		{"refresh to zero", message("0004", "000d0004 00000000"),
			func(m *Message) bool { return m.Method == MethodRefresh && m.HasLifetime && m.Lifetime == 0 }},
		{"no lifetime", message("0004", ""), func(m *Message) bool { return !m.HasLifetime }},
		{"unauthorized", message("0113", "00090010 00000401 556e617574686f72697a6564 0014000b 6578616d706c652e6f7267 00"),
			func(m *Message) bool {
				return m.Class == ClassError && m.ErrorCode == 401 && string(m.ErrorReason) == "Unauthorized" && string(m.Realm) == "example.org"
			}},
		{"role conflict", message("0111", "00090004 00000457"), func(m *Message) bool { return m.ErrorCode == 487 }},
		{"channel bind", message("0009", "000c0004 40010000 00120008 0001 a147 e112a643"),
			func(m *Message) bool {
				return m.Method == MethodChannelBind && m.ChannelNumber == 0x4001 && m.XORPeerAddress.Addr() == netip.MustParseAddr("192.0.2.1")
			}},
		{"send indication", message("0016", "00120008 0001 a147 e112a643 00130005 6869202121 000000"),
			func(m *Message) bool {
				return m.Method == MethodSend && m.Class == ClassIndication && string(m.Data) == "hi !!"
			}},
		{"nomination", message("0001", "00250000 802a0008 0000000000000001"),
			func(m *Message) bool { return m.UseCandidate && m.IceControlling && m.TieBreaker == 1 }},
		{"the first of two counts", message("0009", "00120008 0001 a147 e112a643 00120008 0001 a147 00000000"),
			func(m *Message) bool { return m.XORPeerAddress.Addr() == netip.MustParseAddr("192.0.2.1") }},
		{"ignored after the integrity", message("0001", "00080014 0000000000000000000000000000000000000000 00250000"),
			func(m *Message) bool { return m.HasMessageIntegrity && !m.UseCandidate }},
		{"SHA-256 integrity", message("0001", "001c0004 00000000"),
			func(m *Message) bool { return m.HasMessageIntegrity && !m.VerifyIntegrity(nil) }},
		{"unknown attributes", message("0001", "7fff0001 01000000 ffff0000 00240004 00000005"),
			func(m *Message) bool {
				var types []AttrType
				for a := range m.Attributes() {
					types = append(types, a.Type)
				}
				return m.Priority == 5 && slices.Equal(types, []AttrType{0x7fff, 0xffff, AttrPriority})
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m := decode(t, tt.hex); !tt.check(m) {
				t.Errorf("%+v", m)
			}
			if !Looks(unhex(t, tt.hex)) {
				t.Error("does not look like STUN")
			}
		})
	}
}

func TestTypeField(t *testing.T) {
	// RFC 8489, 5: 0x0001 and 0x0101 are a Binding request and its success;
	// 0x0011 an indication, 0x0111 an error. Every other bit is the method's.
	tests := []struct {
		typ    string
		method Method
		class  Class
		text   string
	}{
		{"0001", 1, 0, "Binding request"}, {"0011", 1, 1, "Binding indication"}, {"0101", 1, 2, "Binding success"},
		{"0111", 1, 3, "Binding error"}, {"0017", 7, 1, "Data indication"}, {"0118", 8, 3, "CreatePermission error"},
		{"3eef", 0xfff, 0, "unknown request"}, {"2000", 0x800, 0, "unknown request"}, {"0020", 0x10, 0, "unknown request"},
	}
	for _, tt := range tests {
		m := decode(t, message(tt.typ, ""))
		if m.Method != tt.method || m.Class != tt.class || m.Method.String()+" "+m.Class.String() != tt.text {
			t.Errorf("%s is method %#x (%v), class %v", tt.typ, uint16(m.Method), m.Method, m.Class)
		}
	}
}

func TestDamage(t *testing.T) {
	tests := []struct {
		name, hex string
		off       int64
		check     func(*Message) bool
	}{
		{"no header", "0001 0000 2112a442", 0, func(m *Message) bool { return m.Type == 0 }},
		{"first bits", "8001 0000 2112a442 000102030405060708090a0b", 0, func(m *Message) bool { return m.Type == 0 }},
		{"attribute over the end", message("0001", "00240004 00000005 0006ffff 61626364"), 28, func(m *Message) bool { return m.Priority == 5 && m.Username == nil }},
		{"half an attribute header", message("0001", "00240004 00000005 0006"), 28, func(m *Message) bool { return m.Priority == 5 }},
		{"IPv6 address with a v4 family", message("0101", "00200014 0001a147 0113a9faa5d3f179bc25f4b5bed2b9d9 80220001 61000000"), 20,
			func(m *Message) bool { return !m.XORMappedAddress.IsValid() && string(m.Software) == "a" }},
		{"error class 2", message("0111", "00090004 00000200"), 20, func(m *Message) bool { return m.ErrorCode == 0 }},
		{"lifetime of 2 bytes", message("0004", "000d0002 02580000"), 20, func(m *Message) bool { return !m.HasLifetime }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			err := Decode(unhex(t, tt.hex), &m)
			var we *wire.Error
			if !errors.As(err, &we) || we.Off != tt.off || we.Proto != "stun" {
				t.Fatalf("error is %v, want one at %d", err, tt.off)
			}
			if !tt.check(&m) {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestCut(t *testing.T) {
	b := unhex(t, sampleRequest)
	for n := 20; n < len(b); n++ {
		var m Message
		if err := Decode(b[:n], &m); err != nil || !m.Truncated {
			t.Fatalf("%d bytes: %v, truncated %v", n, err, m.Truncated)
		}
		if !Looks(b[:n]) {
			t.Fatalf("%d bytes do not look like STUN", n)
		}
		if m.VerifyFingerprint() {
			t.Fatalf("%d bytes have a right fingerprint", n)
		}
		if want := n >= 20+20+8+12+13; (m.Username != nil) != want {
			t.Errorf("%d bytes: username %q", n, m.Username)
		}
	}
}

func TestLooks(t *testing.T) {
	tests := []struct {
		name, hex              string
		cookie, classic, chann bool
	}{
		{"binding request", message("0001", ""), true, false, false},
		{"length not a multiple of four", "0001 0002 2112a442 000102030405060708090a0b 0000", false, false, false},
		{"bytes after the message", message("0001", "") + "00000000", false, false, false},
		{"RFC 3489 request", "0001 0000 000102030405060708090a0b0c0d0e0f", false, true, false},
		{"RFC 3489 answer", "0101 000c 000102030405060708090a0b0c0d0e0f 00010008 00018055c0000201", false, true, false},
		{"RFC 3489 attribute over the end", "0101 000c 000102030405060708090a0b0c0d0e0f 00010009 00018055c0000201", false, false, false},
		{"RFC 3489 bytes left over", "0101 000a 000102030405060708090a0b0c0d0e0f 00010004 00018055c000", false, false, false},
		{"RFC 3489 of another type", "0003 0000 000102030405060708090a0b0c0d0e0f", false, false, false},
		{"RFC 3489 cut", "0001 0004 000102030405060708090a0b0c0d0e0f", false, false, false},
		{"channel data", "4001 0004 80000001", false, false, true},
		{"channel data padded", "4fff 0001 80000000", false, false, true},
		{"channel data with four bytes too many", "4001 0000 80000001", false, false, false},
		{"channel data cut", "4001 0005 80000001", false, false, false},
		{"channel number that RFC 8656 took back", "5000 0004 80000001", false, false, false},
		{"RTP", "8000 0001 00000001 00000001 0000000000000000", false, false, false},
		{"DTLS", "16fefd 0000 000000000000 0001 00 000000000000", false, false, false},
		{"nothing", "", false, false, false},
	}
	for _, tt := range tests {
		b := unhex(t, tt.hex)
		if Looks(b) != tt.cookie || LooksClassic(b) != tt.classic || LooksChannelData(b) != tt.chann {
			t.Errorf("%s: %v, classic %v, channel data %v", tt.name, Looks(b), LooksClassic(b), LooksChannelData(b))
		}
	}
}

func TestClassic(t *testing.T) {
	m := decode(t, "0101 000c 000102030405060708090a0b0c0d0e0f 00010008 00018055c0000201")
	if !m.Classic || m.MappedAddress != netip.MustParseAddrPort("192.0.2.1:32853") {
		t.Errorf("%+v", m)
	}
}

func TestChannelData(t *testing.T) {
	c := ChannelData{Channel: 1}
	if DecodeChannelData(unhex(t, "400100"), &c) || DecodeChannelData(unhex(t, "3fff0000"), &c) || DecodeChannelData(unhex(t, "50000000"), &c) || c.Channel != 1 {
		t.Errorf("accepted: %+v", c)
	}
	if !DecodeChannelData(unhex(t, "4001 0003 61626300"), &c) || c.Channel != 0x4001 || c.Length != 3 || string(c.Data) != "abc" {
		t.Errorf("%+v", c)
	}
	if !DecodeChannelData(unhex(t, "4fff 0100 6162"), &c) || c.Channel != 0x4fff || c.Length != 256 || string(c.Data) != "ab" {
		t.Errorf("cut: %+v", c)
	}
}

func TestFrameLen(t *testing.T) {
	for _, tt := range []struct {
		hex string
		n   int
		ok  bool
	}{
		{"", 0, true}, {"00", 0, true}, {"000100", 0, true}, {"0001 0008", 28, true}, {"4001 0004", 8, true}, {"4001 0005", 12, true},
		{"4001 0000 ff", 4, true}, {"80", 0, false}, {"50010000", 0, false}, {"c0", 0, false},
	} {
		if n, ok := FrameLen(unhex(t, tt.hex)); n != tt.n || ok != tt.ok {
			t.Errorf("%s: %d, %v, want %d, %v", tt.hex, n, ok, tt.n, tt.ok)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	a, b, d := unhex(t, sampleRequest), unhex(t, sampleIPv6), unhex(t, "4001 0003 61626300")
	var m Message
	var c ChannelData
	if n := testing.AllocsPerRun(100, func() {
		if !Looks(a) || Decode(a, &m) != nil || !m.VerifyFingerprint() || !Looks(b) || Decode(b, &m) != nil {
			t.Error("refused")
		}
		if !LooksChannelData(d) || !DecodeChannelData(d, &c) {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{sampleRequest, sampleIPv4, sampleIPv6, "4001 0003 61626300", "0101 000c 000102030405060708090a0b0c0d0e0f 00010008 00018055c0000201",
		message("0113", "00090010 00000401 556e617574686f72697a6564 0014000b 6578616d706c652e6f7267 00"), message("0016", "00120008 0001 a147 e112a643 00130005 6869202121 000000")} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		var m Message
		err := Decode(b, &m)
		if LooksClassic(b) && Looks(b) {
			t.Fatal("looks like both")
		}
		if (Looks(b) || LooksClassic(b)) && m.Type == 0 && b[0]|b[1] != 0 {
			t.Fatalf("looks like STUN: %v", err)
		}
		last := 0
		for a := range m.Attributes() {
			if a.Off <= last || a.Off+4+len(a.Value) > len(b) {
				t.Fatalf("attribute at %d after %d", a.Off, last)
			}
			last = a.Off
		}
		m.VerifyFingerprint()
		m.VerifyIntegrity([]byte("key"))
		if m.Method.String() == "" || m.Class.String() == "" {
			t.Fatal("no name")
		}
		if m.ErrorCode != 0 && (m.ErrorCode < 300 || m.ErrorCode > 699) {
			t.Fatalf("error code %d", m.ErrorCode)
		}
		var c ChannelData
		if DecodeChannelData(b, &c) != (len(b) >= 4 && b[0]>>4 == 4) {
			t.Fatal("channel data")
		}
		if LooksChannelData(b) && len(c.Data) != c.Length {
			t.Fatalf("channel data of %d bytes, want %d", len(c.Data), c.Length)
		}
		FrameLen(b)
		if !bytes.Equal(whole, b) {
			t.Fatal("input was changed")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, bb := range []struct{ name, hex string }{{"message=request", sampleRequest}, {"message=response", sampleIPv4}} {
		b.Run(bb.name, func(b *testing.B) {
			p := unhex(b, bb.hex)
			var m Message
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if !Looks(p) || Decode(p, &m) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
