package sessions

import (
	"fmt"
	"testing"

	"github.com/twtrace/twtrace/decode"
)

// However often newer copies come, and whatever the hash: each SID has one row,
// its newest, in the place of the first; and the old ones do not pile up.
func TestNewestCopies(t *testing.T) {
	spread := newMessageRows()
	allEqual := newMessageRows()
	allEqual.hash = func(string) uint64 { return 7 }
	for name, m := range map[string]*messageRows{"spread": &spread, "all equal": &allEqual} {
		const sids, copies = 40, 200
		for n := range copies {
			for k := range sids {
				row := Message{SID: fmt.Sprintf("SM%032x", k), Status: fmt.Sprint("copy ", n), UpdatedAt: Time(n)}
				i, ok := m.find(row.SID)
				if ok != (n > 0) || ok && (m.old.SID != row.SID || m.old.UpdatedAt != Time(n-1)) {
					t.Fatalf("%s: copy %d of SID %d: found %v, %+v", name, n, k, ok, m.old)
				}
				if pos := (decode.Pos{Frame: int64(n)}); ok {
					m.replace(i, &row, pos)
				} else {
					m.add(&row, pos)
				}
			}
			if got := m.rows.Len(); got > 2*sids+staleRows {
				t.Fatalf("%s: %d rows are kept for %d SIDs", name, got, sids)
			}
		}
		if m.pos[3].Frame != copies-1 {
			t.Errorf("%s: the newest copy is of record %d", name, m.pos[3].Frame)
		}
		rows := m.take()
		if rows.Len() != sids {
			t.Fatalf("%s: %d rows, want %d", name, rows.Len(), sids)
		}
		for k, row := range rows.All() {
			if row.SID != fmt.Sprintf("SM%032x", k) || row.UpdatedAt != copies-1 {
				t.Errorf("%s: row %d is %+v", name, k, *row)
			}
		}
	}
}
