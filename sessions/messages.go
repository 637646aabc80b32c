package sessions

import (
	"hash/maphash"

	"github.com/twtrace/twtrace/decode"
)

// messageRows are message resources, of each SID the newest copy: in the order
// in which the SIDs came.
type messageRows struct {
	rows  Messages
	place []int32             // of each SID's row
	pos   []decode.Pos        // of each SID's newest copy
	by    map[uint64]int32    // numbers of SIDs, by hash
	clash map[string]int32    // of those whose hash is that of another
	hash  func(string) uint64 // never written anywhere

	// What find was asked for last: the hash, whether a SID has it, and the row
	// that was found.
	asked uint64
	has   bool
	old   Message
}

func newMessageRows() messageRows {
	seed := maphash.MakeSeed()
	return messageRows{by: map[uint64]int32{}, hash: func(sid string) uint64 { return maphash.String(seed, sid) }}
}

// find gives the number of a SID that was added.
func (m *messageRows) find(sid string) (i int32, ok bool) {
	m.asked = m.hash(sid)
	if i, m.has = m.by[m.asked]; !m.has {
		return 0, false
	}
	if m.rows.Get(int(m.place[i]), &m.old); m.old.SID == sid {
		return i, true
	}
	if i, ok = m.clash[sid]; ok {
		m.rows.Get(int(m.place[i]), &m.old)
	}
	return i, ok
}

// add appends the row of the SID that find was asked for, and did not find.
func (m *messageRows) add(row *Message, pos decode.Pos) {
	i := int32(len(m.place))
	if !m.has {
		m.by[m.asked] = i
	} else {
		if m.clash == nil {
			m.clash = map[string]int32{}
		}
		m.clash[row.SID] = i
	}
	m.place, m.pos = append(m.place, int32(m.rows.Len())), append(m.pos, pos)
	m.rows.Add(*row)
}

const staleRows = 1 << 10 // are not worth the work

// replace puts a newer copy in place of the row number i. The old one lies
// about until there are more of its kind than others.
func (m *messageRows) replace(i int32, row *Message, pos decode.Pos) {
	m.place[i], m.pos[i] = int32(m.rows.Len()), pos
	m.rows.Add(*row)
	if m.rows.Len() > 2*len(m.place)+staleRows {
		m.sweep()
	}
}

// sweep leaves the newest copies alone, in their order.
func (m *messageRows) sweep() {
	if m.rows.Len() == len(m.place) {
		return
	}
	order := make([]int, len(m.place))
	for i, at := range m.place {
		order[i], m.place[i] = int(at), int32(i)
	}
	m.rows.Reorder(order)
}

// take ends the collecting.
func (m *messageRows) take() Messages {
	m.sweep()
	m.rows.Rest()
	rows := m.rows
	*m = messageRows{}
	return rows
}
