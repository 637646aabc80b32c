package link

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// samePlain holds the short way against the walk, which knows everything.
func samePlain(t *testing.T, data []byte, origLen int) (took bool) {
	t.Helper()
	var got, want Packet
	if !plain(data, origLen, &got) {
		return false
	}
	if v := NewDecoder().walk(linkEthernet, data, origLen, 0, &want); v != Used {
		t.Fatalf("%x of %d bytes: plain takes it, the walk says %s", data, origLen, v)
	}
	if !bytes.Equal(got.Payload, want.Payload) {
		t.Fatalf("%x: payload %x, the walk says %x", data, got.Payload, want.Payload)
	}
	got.Payload, want.Payload = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%x of %d bytes:\n%+v, the walk says\n%+v", data, origLen, got, want)
	}
	return true
}

func plainFrames() [][]byte {
	return [][]byte{
		ethFrame(0x0800, ipv4Packet(17, udpDatagram(20000, 30000, rtp()))),
		ethFrame(0x0800, ipv4Packet(17, udpDatagram(5060, 5060, nil))),
		ethFrame(0x0800, ipv4Packet(6, tcpSegment(1, 2, 3, 4, ACK|PSH, nil, pattern(160)))),
		ethFrame(0x0800, ipv4Packet(6, tcpSegment(443, 2, 3, 4, SYN, nil, nil))),
		append(ethFrame(0x0800, ipv4Packet(17, udpDatagram(7, 8, pattern(3)))), make([]byte, 15)...), // padded to 60 bytes
	}
}

func TestPlainIsTheWalk(t *testing.T) {
	for i, f := range plainFrames() {
		if !samePlain(t, f, len(f)) {
			t.Errorf("frame %d is not taken", i)
		}
	}
	// Frames that differ from these in a byte or three, or are cut.
	r := rand.New(rand.NewPCG(1, 1))
	taken, left := 0, 0
	for range 50_000 {
		frames := plainFrames()
		f := frames[r.IntN(len(frames))]
		for range r.IntN(3) + 1 {
			f[r.IntN(min(len(f), 60))] = byte(r.Uint32())
		}
		orig := len(f)
		if r.IntN(4) == 0 {
			f = f[:r.IntN(len(f)+1)]
		}
		if samePlain(t, f, orig) {
			taken++
		} else {
			left++
		}
	}
	if taken < 10_000 || left < 10_000 {
		t.Errorf("%d frames taken, %d left to the walk: nothing was tried", taken, left)
	}
}

// What plain must leave to the walk.
func TestPlainLeaves(t *testing.T) {
	udp := udpDatagram(20000, 30000, rtp())
	for name, f := range map[string][]byte{
		"vlan":    ethFrame(0x8100, tagged(5, 0x0800, ipv4Packet(17, udp))),
		"ipv6":    ethFrame(0x86dd, ipv6Packet(17, udp)),
		"vxlan":   ethFrame(0x0800, ipv4Packet(17, udpDatagram(5555, 4789, pattern(60)))),
		"gtp":     ethFrame(0x0800, ipv4Packet(17, udpDatagram(2152, 5555, pattern(60)))),
		"icmp":    ethFrame(0x0800, ipv4Packet(1, pattern(30))),
		"cut":     ethFrame(0x0800, ipv4Packet(17, udp))[:60],
		"nothing": nil,
	} {
		var p Packet
		if plain(f, len(f), &p) {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, x := range plainFrames() {
		f.Add(x, len(x))
	}
	f.Fuzz(func(t *testing.T, data []byte, origLen int) { samePlain(t, data, origLen) })
}
