package decode

// The rows in this file are tables of the public contract. Tag `col` is the
// column's name; `unit`, `enum` (a closed set, parted by |), `key` and `doc`
// travel into every written schema. A string "" and a Time 0 are null; what
// else can be unknown is an Opt.

// Input is a row of table inputs: one file that the analysis was given.
type Input struct {
	Experiment string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	File       string `col:"file" key:"1" doc:"path relative to the INPUT's root"`
	Kind       string `col:"kind" enum:"capture|keylog|resources|queue-log|manifest|unknown" doc:"what the content is"`
	SHA256     string `col:"sha256" doc:"SHA-256 of the file's bytes as stored, hex"`
	Bytes      int64  `col:"bytes" unit:"bytes" doc:"size as stored"`
	Records    int64  `col:"records" doc:"frames, resources, secrets or rows found"`
	Used       int64  `col:"used" doc:"records that were used"`
	Refused    int64  `col:"refused" doc:"records that were not, see ledger"`
	Problem    string `col:"problem" doc:"damage: where, what was expected, how much was still read"`
}

// Capture is a row of table captures: one packet capture.
type Capture struct {
	Experiment       string     `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	File             string     `col:"file" key:"1" doc:"path relative to the INPUT's root"`
	Format           string     `col:"format" enum:"pcap|pcapng" doc:"capture file format"`
	Compression      string     `col:"compression" enum:"none|gzip|zstd|bzip2|xz" doc:"compression around it"`
	LinkTypes        []string   `col:"link_types" doc:"link types of its interfaces (LINKTYPE_ names)"`
	SnapLen          Opt[int64] `col:"snaplen" unit:"bytes" doc:"largest snap length; null when unlimited"`
	Interfaces       int64      `col:"interfaces" doc:"interfaces described"`
	Packets          int64      `col:"packets" doc:"packets read"`
	Bytes            int64      `col:"bytes" unit:"bytes" doc:"bytes of these packets on the wire"`
	TruncatedPackets int64      `col:"truncated_packets" doc:"packets cut by the snap length"`
	DuplicatePackets int64      `col:"duplicate_packets" doc:"copies removed: mirror ports, VLANs, routed copies"`
	DroppedPackets   Opt[int64] `col:"dropped_packets" doc:"packets the capturing host dropped, by interface statistics"`
	FirstAt          Time       `col:"first_at" doc:"time of the earliest packet"`
	LastAt           Time       `col:"last_at" doc:"time of the latest packet"`
	BackwardSteps    int64      `col:"backward_steps" doc:"packets stamped earlier than the one before"`
	TLSSessions      int64      `col:"tls_sessions" doc:"TLS sessions seen"`
	TLSDecrypted     int64      `col:"tls_decrypted" doc:"TLS sessions decrypted"`
	Problem          string     `col:"problem" doc:"damage: where, what was expected, how much was still read"`
}

// LedgerRow is a row of table ledger. For each layer the counts of all
// reasons add up to what came into that layer.
type LedgerRow struct {
	Experiment string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Layer      string `col:"layer" key:"1" enum:"frame|ip|udp|tcp|tls|dtls|srtp|http|websocket|sip|rtp|rtcp|stun|dns|pstream|resource|queue-log|keylog|input" doc:"layer that took or refused"`
	Reason     string `col:"reason" key:"1" doc:"used, or why refused"`
	Count      int64  `col:"count" doc:"units of that layer"`
	Bytes      int64  `col:"bytes" unit:"bytes" doc:"bytes of these units"`
}
