package tls

import "testing"

func TestDbg(t *testing.T) {
	p := captures + "/files/fkie-cad+pcapFS/tls1-aes128-cbc-file_e_large.pcap"
	l := readLog(t, p+".keylog")
	for _, s := range sessions(t, p, lookupIn(l)) {
		t.Log(s.name, s.conn.Status())
	}
}
