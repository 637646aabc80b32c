package decode

import (
	"fmt"
	"sort"
)

// Layer is a place in the ledger.
type Layer uint8

// The layers, in the order in which table ledger lists them.
const (
	LayerFrame Layer = iota
	LayerIP
	LayerUDP
	LayerTCP
	LayerTLS
	LayerDTLS
	LayerSRTP
	LayerHTTP
	LayerWebSocket
	LayerSIP
	LayerRTP
	LayerRTCP
	LayerSTUN
	LayerDNS
	LayerPStream
	LayerResource
	LayerQueueLog
	LayerKeylog
	LayerInput
	layerCount
)

var layerNames = [layerCount]string{"frame", "ip", "udp", "tcp", "tls", "dtls", "srtp", "http", "websocket",
	"sip", "rtp", "rtcp", "stun", "dns", "pstream", "resource", "queue-log", "keylog", "input"}

func (l Layer) String() string { return layerNames[l] }

// ReasonUsed is the reason of what was not refused.
const ReasonUsed = "used"

// Ledger counts for each layer what came in, and what became of it by reason.
// The zero value is ready.
type Ledger struct {
	in  [layerCount]int64
	out [layerCount]map[string]*tally
}

type tally struct{ count, bytes int64 }

// In says that n units came into a layer.
func (l *Ledger) In(layer Layer, n int64) { l.in[layer] += n }

// Out says what became of n units of a layer.
func (l *Ledger) Out(layer Layer, reason string, n, bytes int64) {
	if n == 0 {
		return
	}
	m := l.out[layer]
	if m == nil {
		m = map[string]*tally{}
		l.out[layer] = m
	}
	t := m[reason]
	if t == nil {
		t = &tally{}
		m[reason] = t
	}
	t.count += n
	t.bytes += bytes
}

// Count is In and Out of one unit.
func (l *Ledger) Count(layer Layer, reason string, bytes int64) {
	l.In(layer, 1)
	l.Out(layer, reason, 1, bytes)
}

// Rows are the rows of table ledger: by layer, `used` first, then by reason.
func (l *Ledger) Rows() []LedgerRow {
	var rows []LedgerRow
	for layer := Layer(0); layer < layerCount; layer++ {
		var reasons []string
		for r := range l.out[layer] {
			reasons = append(reasons, r)
		}
		sort.Slice(reasons, func(i, j int) bool {
			if (reasons[i] == ReasonUsed) != (reasons[j] == ReasonUsed) {
				return reasons[i] == ReasonUsed
			}
			return reasons[i] < reasons[j]
		})
		for _, r := range reasons {
			t := l.out[layer][r]
			rows = append(rows, LedgerRow{Layer: layer.String(), Reason: r, Count: t.count, Bytes: t.bytes})
		}
	}
	return rows
}

// Check is an error when the counts of a layer do not add up to what came in.
func (l *Ledger) Check() error {
	for layer := Layer(0); layer < layerCount; layer++ {
		var sum int64
		for _, t := range l.out[layer] {
			sum += t.count
		}
		if sum != l.in[layer] {
			return fmt.Errorf("ledger does not balance: %s: %d came in, %d accounted for", layer, l.in[layer], sum)
		}
	}
	return nil
}
