package sessions

import (
	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
)

// The rows in this file are tables of the public contract; see decode/rows.go
// for the tags. Whoever fills a row says what is known: an Opt that stays
// unknown, a string "" and a Time 0 are null in every written form.

type (
	// Time is decode.Time: ns since 1970 UTC, 0 unknown.
	Time = decode.Time
	// Int is an int64 that may be unknown.
	Int = decode.Opt[int64]
	// Float is a float64 that may be unknown.
	Float = decode.Opt[float64]
	// Uint is a uint32 that may be unknown.
	Uint = decode.Opt[uint32]
	// Text is a long text that is kept compressed.
	Text = packed.Text
	// Signals are rows of table signals, of which there are many.
	Signals = packed.Rows[Signal]
	// Streams are rows of table streams, likewise.
	Streams = packed.Rows[Stream]
	// StreamIntervals are rows of table stream_intervals, likewise.
	StreamIntervals = packed.Rows[StreamInterval]
	// Messages are rows of table messages, likewise.
	Messages = packed.Rows[Message]
)

// Host is a row of table hosts: one address.
type Host struct {
	Experiment string   `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Address    string   `col:"address" key:"1" doc:"IPv4 or IPv6 address"`
	Names      []string `col:"names" doc:"names seen for it"`
	NamesBy    []string `col:"names_by" doc:"how each name is known: dns, sni, http-host, certificate"`
	Roles      []string `col:"roles" doc:"signaling, media, rest, events, stun, turn, webhook, mediastream, dns, client, other"`
	Provider   string   `col:"provider" doc:"whose host it is"`
	ProviderBy string   `col:"provider_by" doc:"how the provider is known: name or range"`
	Ports      []string `col:"ports" doc:"ports on which it was spoken to, as udp/5060"`
	PacketsIn  int64    `col:"packets_in" doc:"packets sent to it"`
	PacketsOut int64    `col:"packets_out" doc:"packets it sent"`
	BytesIn    int64    `col:"bytes_in" unit:"bytes" doc:"bytes sent to it, IP headers included"`
	BytesOut   int64    `col:"bytes_out" unit:"bytes" doc:"bytes it sent, IP headers included"`
	FirstAt    Time     `col:"first_at" doc:"first packet"`
	LastAt     Time     `col:"last_at" doc:"last packet"`
}

// Flow is a row of table flows: one two-way transport conversation; src is the
// side that spoke first (TCP: that sent the SYN).
type Flow struct {
	Experiment      string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	FlowID          uint32 `col:"flow_id" key:"1" doc:"number of the flow, from 1 in order of first packet"`
	Transport       string `col:"transport" enum:"udp|tcp|sctp|other" doc:"transport protocol"`
	Src             string `col:"src" doc:"address that spoke first"`
	SrcPort         Uint   `col:"src_port" doc:"its port"`
	Dst             string `col:"dst" doc:"address spoken to"`
	DstPort         Uint   `col:"dst_port" doc:"its port"`
	Application     string `col:"application" doc:"protocol inside: sip, rtp, srtp, rtcp, stun, dtls, tls, http, http2, websocket, pstream, dns, ..."`
	ServerName      string `col:"server_name" doc:"TLS server name, else HTTP host"`
	Packets         int64  `col:"packets" doc:"packets both ways"`
	Bytes           int64  `col:"bytes" unit:"bytes" doc:"bytes both ways, IP headers included"`
	FirstAt         Time   `col:"first_at" doc:"first packet"`
	LastAt          Time   `col:"last_at" doc:"last packet"`
	Encryption      string `col:"encryption" enum:"none|decrypted|partly|no-key|wrong-key|no-handshake|unsupported" doc:"whether it could be read"`
	EncryptionNote  string `col:"encryption_note" doc:"why"`
	RTTms           Float  `col:"rtt_ms" unit:"ms" doc:"TCP handshake round trip as seen here"`
	Retransmissions int64  `col:"retransmissions" doc:"TCP segments that carried only bytes seen before"`
	Gaps            int64  `col:"gaps" doc:"holes in the TCP byte streams that were never filled"`
	GapBytes        int64  `col:"gap_bytes" unit:"bytes" doc:"bytes in these holes"`
}

// Call is a row of table calls.
type Call struct {
	Experiment      string   `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	CallID          string   `col:"call_id" key:"1" doc:"CallSid, else the first SIP Call-ID, else leg-N"`
	CallSID         string   `col:"call_sid" doc:"the provider's CallSid"`
	ParentCallID    string   `col:"parent_call_id" doc:"call that this one was dialed from"`
	RootCallID      string   `col:"root_call_id" doc:"first call of that story"`
	SIPCallIDs      []string `col:"sip_call_ids" doc:"SIP Call-IDs of its dialogs"`
	Protocols       []string `col:"protocols" doc:"protocols of its legs"`
	Direction       string   `col:"direction" doc:"as the provider names it, else inbound or outbound as seen from the captured host"`
	From            string   `col:"from" doc:"caller"`
	To              string   `col:"to" doc:"callee"`
	InitiatedAt     Time     `col:"initiated_at" doc:"caller asked for the call"`
	ArrivedAt       Time     `col:"arrived_at" doc:"call reached the observed endpoint"`
	ArrivedBy       string   `col:"arrived_by" enum:"pstream-invite|matrix-invite|sip-invite|tls-record|tcp-connect|event-gateway|ice-check|dtls-hello|first-rtp|resource" doc:"how the arrival is known"`
	ArrivedErrorMS  Float    `col:"arrived_error_ms" unit:"ms" doc:"half-width of the arrival time"`
	RingingAt       Time     `col:"ringing_at" doc:"first ringing"`
	AnsweredAt      Time     `col:"answered_at" doc:"answer"`
	FirstMediaInAt  Time     `col:"first_media_in_at" doc:"first media packet to the callee"`
	FirstMediaOutAt Time     `col:"first_media_out_at" doc:"first media packet from the callee"`
	EndedAt         Time     `col:"ended_at" doc:"end"`
	PostDialDelayMS Float    `col:"post_dial_delay_ms" unit:"ms" doc:"request to first ringing or answer"`
	RingMS          Float    `col:"ring_ms" unit:"ms" doc:"ringing to answer"`
	ICEms           Float    `col:"ice_ms" unit:"ms" doc:"first ICE check to the first that succeeded"`
	DTLSms          Float    `col:"dtls_ms" unit:"ms" doc:"DTLS handshake"`
	DurationS       Float    `col:"duration_s" unit:"s" doc:"answer to end"`
	Outcome         string   `col:"outcome" enum:"answered|busy|rejected|cancelled|no-answer|ignored|failed|in-progress" doc:"how it went"`
	EndedBy         string   `col:"ended_by" enum:"caller|callee|provider" doc:"who ended it"`
	StatusCode      Int      `col:"status_code" doc:"final SIP status of the INVITE"`
	ErrorCode       Int      `col:"error_code" doc:"provider's error code"`
	Cause           string   `col:"cause" doc:"reason given"`
	OpenAtEnd       bool     `col:"open_at_end" doc:"still going on when the capture ended"`
	Legs            int64    `col:"legs" doc:"legs joined"`
	Streams         int64    `col:"streams" doc:"RTP streams"`
	File            string   `col:"file" doc:"capture or export of the first evidence"`
	FirstFrame      Int      `col:"first_frame" doc:"first frame of its signaling"`
	LastFrame       Int      `col:"last_frame" doc:"last frame of its signaling"`
}

// Leg is a row of table legs: one party's signaling.
type Leg struct {
	Experiment string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	LegID      uint32 `col:"leg_id" key:"1" doc:"number of the leg, from 1"`
	CallID     string `col:"call_id" doc:"its call"`
	Kind       string `col:"kind" enum:"sip|pstream|matrix|resource|webhook|mediastream" doc:"what it was seen by"`
	ID         string `col:"id" doc:"Call-ID, CallSid or StreamSid"`
	JoinedBy   string `col:"joined_by" doc:"why it belongs to the call"`
	JoinScore  Float  `col:"join_score" doc:"1 certain, less when inferred"`
	From       string `col:"from" doc:"caller on this leg"`
	To         string `col:"to" doc:"callee on this leg"`
	FirstAt    Time   `col:"first_at" doc:"first message"`
	LastAt     Time   `col:"last_at" doc:"last message"`
	StatusCode Int    `col:"status_code" doc:"final SIP status"`
}

// Signal is a row of table signals: one rung of a ladder.
type Signal struct {
	Experiment     string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	CallID         string `col:"call_id" doc:"its call; null for what belongs to none"`
	LegID          Uint   `col:"leg_id" doc:"its leg"`
	FlowID         Uint   `col:"flow_id" doc:"flow that carried it"`
	At             Time   `col:"at" doc:"time of the segment that completed it"`
	File           string `col:"file" doc:"capture"`
	Frame          Int    `col:"frame" doc:"frame of the segment that completed it"`
	FirstFrame     Int    `col:"first_frame" doc:"frame that began it"`
	Protocol       string `col:"protocol" enum:"sip|pstream|matrix|http|mediastream|stun|dtls|rtcp|websocket|dns|tls" doc:"signaling protocol"`
	Src            string `col:"src" doc:"sender address"`
	SrcPort        Uint   `col:"src_port" doc:"sender port"`
	Dst            string `col:"dst" doc:"receiver address"`
	DstPort        Uint   `col:"dst_port" doc:"receiver port"`
	Kind           string `col:"kind" doc:"INVITE, 180, BYE, invite, ringing, POST Calls, ..."`
	Label          string `col:"label" doc:"what a ladder writes on the rung"`
	StatusCode     Int    `col:"status_code" doc:"SIP or HTTP status"`
	DurationMS     Float  `col:"duration_ms" unit:"ms" doc:"request to final response"`
	Retransmission bool   `col:"retransmission" doc:"the same message was seen before"`
	Decrypted      bool   `col:"decrypted" doc:"read with a key"`
	Detail         Text   `col:"detail" doc:"the decoded message, secrets and bodies elided, at most 4 KiB"`
}

// Arrival is a row of table arrivals: one call that was queued or arrived.
type Arrival struct {
	Experiment     string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Seq            int64  `col:"seq" key:"1" doc:"place in queue order, from 1"`
	CallID         string `col:"call_id" doc:"its call"`
	CallSID        string `col:"call_sid" doc:"the provider's CallSid"`
	To             string `col:"to" doc:"whom it was to reach"`
	Endpoint       string `col:"endpoint" enum:"browser|phone|sip" doc:"kind of that endpoint"`
	QueuedAt       Time   `col:"queued_at" doc:"provider accepted it"`
	QueuedBy       string `col:"queued_by" enum:"http-post|queue-log|resource" doc:"how that is known"`
	QueuedErrorMS  Float  `col:"queued_error_ms" unit:"ms" doc:"half-width of queued_at"`
	ArrivedAt      Time   `col:"arrived_at" doc:"it reached its endpoint"`
	ArrivedBy      string `col:"arrived_by" enum:"pstream-invite|matrix-invite|sip-invite|tls-record|tcp-connect|event-gateway|ice-check|dtls-hello|first-rtp|resource" doc:"how that is known"`
	ArrivedErrorMS Float  `col:"arrived_error_ms" unit:"ms" doc:"half-width of arrived_at"`
	WaitS          Float  `col:"wait_s" unit:"s" doc:"queued to arrived; null unless both times are of one clock or the offset is known"`
	WaitErrorS     Float  `col:"wait_error_s" unit:"s" doc:"half-width of wait_s"`
	File           string `col:"file" doc:"capture or export of the arrival"`
	Frame          Int    `col:"frame" doc:"frame of the arrival"`
}

// CallResource is a row of table call_resources.
type CallResource struct {
	Experiment    string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	SID           string `col:"sid" key:"1" doc:"CallSid"`
	ParentCallSID string `col:"parent_call_sid" doc:"call that dialed it"`
	AccountSID    string `col:"account_sid" doc:"account"`
	Status        string `col:"status" doc:"status as exported"`
	Direction     string `col:"direction" doc:"direction as exported"`
	From          string `col:"from" doc:"caller"`
	To            string `col:"to" doc:"callee"`
	CreatedAt     Time   `col:"created_at" doc:"date_created"`
	StartedAt     Time   `col:"started_at" doc:"start_time"`
	EndedAt       Time   `col:"ended_at" doc:"end_time"`
	DurationS     Float  `col:"duration_s" unit:"s" doc:"duration as exported"`
	QueueTimeMS   Int    `col:"queue_time_ms" unit:"ms" doc:"queue_time as exported"`
	AnsweredBy    string `col:"answered_by" doc:"human or machine"`
	ErrorCode     Int    `col:"error_code" doc:"provider's error code"`
	File          string `col:"file" doc:"export"`
	Record        Int    `col:"record" doc:"1-based record in it"`
}

// Stream is a row of table streams: one SSRC from one source to one
// destination (RFC 3550), bounded by its dialog.
type Stream struct {
	Experiment       string  `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	StreamID         uint32  `col:"stream_id" key:"1" doc:"number of the stream, from 1"`
	CallID           string  `col:"call_id" doc:"its call; null when bound to none"`
	LegID            Uint    `col:"leg_id" doc:"its leg"`
	FlowID           uint32  `col:"flow_id" doc:"flow that carried it"`
	Src              string  `col:"src" doc:"source address"`
	SrcPort          uint32  `col:"src_port" doc:"source port"`
	Dst              string  `col:"dst" doc:"destination address"`
	DstPort          uint32  `col:"dst_port" doc:"destination port"`
	SSRC             uint32  `col:"ssrc" doc:"synchronisation source (RFC 3550)"`
	PayloadTypes     []int64 `col:"payload_types" doc:"payload types in order of appearance"`
	Codec            string  `col:"codec" doc:"encoding name"`
	ClockHz          Int     `col:"clock_hz" unit:"hz" doc:"RTP clock rate"`
	PtimeMS          Float   `col:"ptime_ms" unit:"ms" doc:"packet time"`
	Encrypted        bool    `col:"encrypted" doc:"SRTP"`
	Decrypted        bool    `col:"decrypted" doc:"SRTP that was authenticated and decrypted"`
	FirstAt          Time    `col:"first_at" doc:"first packet"`
	LastAt           Time    `col:"last_at" doc:"last packet"`
	Packets          int64   `col:"packets" doc:"distinct sequence numbers received"`
	Expected         int64   `col:"expected" doc:"sequence numbers from first to highest"`
	Lost             int64   `col:"lost" doc:"expected less packets, never negative"`
	LostPct          Float   `col:"lost_pct" unit:"pct" doc:"lost of expected"`
	Duplicates       int64   `col:"duplicates" doc:"packets with a sequence number seen before"`
	Reordered        int64   `col:"reordered" doc:"packets that arrived after a later one"`
	BurstLossPct     Float   `col:"burst_loss_pct" unit:"pct" doc:"loss within bursts (RFC 3611 4.7.2)"`
	GapLossPct       Float   `col:"gap_loss_pct" unit:"pct" doc:"loss within gaps (RFC 3611 4.7.2)"`
	DeltaMaxMS       Float   `col:"delta_max_ms" unit:"ms" doc:"longest time between two packets"`
	JitterMeanMS     Float   `col:"jitter_mean_ms" unit:"ms" doc:"mean interarrival jitter (RFC 3550 6.4.1)"`
	JitterMaxMS      Float   `col:"jitter_max_ms" unit:"ms" doc:"largest interarrival jitter"`
	ClockDriftPPM    Float   `col:"clock_drift_ppm" unit:"ppm" doc:"sender's RTP clock against the capture clock"`
	RFactor          Float   `col:"r_factor" doc:"E-model R (ITU-T G.107)"`
	MOS              Float   `col:"mos" doc:"mean opinion score from R"`
	MOSMethod        string  `col:"mos_method" doc:"how MOS was made"`
	MOSSDK           Float   `col:"mos_sdk" doc:"the client's own formula and metrics"`
	RTCPFractionLost Float   `col:"rtcp_fraction_lost" doc:"mean fraction lost as the receiver reported, 0 to 1"`
	RTCPJitterMS     Float   `col:"rtcp_jitter_ms" unit:"ms" doc:"mean jitter as the receiver reported"`
	RTCPRTTms        Float   `col:"rtcp_rtt_ms" unit:"ms" doc:"round trip by SR and RR (RFC 3550 6.4.1)"`
	AudioLevelDBOV   Float   `col:"audio_level_dbov" doc:"mean level (RFC 6464)"`
	SilencePct       Float   `col:"silence_pct" unit:"pct" doc:"part of the stream that was silent"`
	DTMFCount        int64   `col:"dtmf_count" doc:"telephone events (RFC 4733)"`
	File             string  `col:"file" doc:"capture of the first packet"`
	FirstFrame       int64   `col:"first_frame" doc:"frame of the first packet"`
	DTMFDigits       string  `col:"dtmf_digits" doc:"digits of the telephone events, with --show-dtmf; otherwise null"`
}

// StreamInterval is a row of table stream_intervals: one stream in one second.
type StreamInterval struct {
	Experiment string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	StreamID   uint32 `col:"stream_id" key:"1" doc:"its stream"`
	At         Time   `col:"at" key:"1" doc:"start of the second"`
	Packets    int64  `col:"packets" doc:"packets in it"`
	Lost       int64  `col:"lost" doc:"sequence numbers missed in it"`
	JitterMS   Float  `col:"jitter_ms" unit:"ms" doc:"jitter at its end"`
	DeltaMaxMS Float  `col:"delta_max_ms" unit:"ms" doc:"longest time between two packets"`
	MOS        Float  `col:"mos" doc:"mean opinion score of the second"`
}

// Message is a row of table messages: one Message resource.
type Message struct {
	Experiment          string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	SID                 string `col:"sid" key:"1" packed:"inline" doc:"Message SID"`
	AccountSID          string `col:"account_sid" doc:"account"`
	MessagingServiceSID string `col:"messaging_service_sid" doc:"messaging service"`
	Direction           string `col:"direction" doc:"direction as exported"`
	From                string `col:"from" doc:"sender"`
	To                  string `col:"to" packed:"inline" doc:"receiver"`
	Status              string `col:"status" doc:"status as exported"`
	ErrorCode           Int    `col:"error_code" doc:"provider's error code"`
	BodyChars           Int    `col:"body_chars" doc:"Unicode code points of the body"`
	BodyBytes           Int    `col:"body_bytes" unit:"bytes" doc:"UTF-8 bytes of the body"`
	Encoding            string `col:"encoding" enum:"gsm7|ucs2" doc:"encoding the body needs (GSM 03.38)"`
	Segments            Int    `col:"segments" doc:"num_segments as the provider says; null when 0"`
	SegmentsGSM         Int    `col:"segments_gsm" doc:"computed by GSM 03.38: 160/153 septets or 70/67 units"`
	Segments160         Int    `col:"segments_160" doc:"the study's rule: bytes by 160, rounded up"`
	QueuedAt            Time   `col:"queued_at" doc:"date_created"`
	SentAt              Time   `col:"sent_at" doc:"date_sent"`
	UpdatedAt           Time   `col:"updated_at" doc:"date_updated"`
	TimeResolutionS     Float  `col:"time_resolution_s" unit:"s" doc:"resolution of these times"`
	WaitS               Float  `col:"wait_s" unit:"s" doc:"queued_at to sent_at"`
	File                string `col:"file" doc:"export"`
	Record              Int    `col:"record" doc:"1-based record in it"`
}

// Clock is a row of table clocks: a host's clock against the capture's.
type Clock struct {
	Experiment   string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Host         string `col:"host" key:"1" doc:"address or name"`
	By           string `col:"by" enum:"http-date|resource|rtcp-sr" doc:"what it was learned from"`
	Samples      int64  `col:"samples" doc:"observations"`
	OffsetLowMS  Float  `col:"offset_low_ms" unit:"ms" doc:"its clock less the capture's, lower end"`
	OffsetHighMS Float  `col:"offset_high_ms" unit:"ms" doc:"upper end"`
	DriftPPM     Float  `col:"drift_ppm" unit:"ppm" doc:"its rate against the capture's"`
}

// Oddity is a row of table oddities: a rule that fired.
type Oddity struct {
	Experiment      string `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Rule            string `col:"rule" key:"1" doc:"rule id"`
	Severity        string `col:"severity" enum:"info|warn|error" doc:"how grave"`
	At              Time   `col:"at" key:"1" doc:"when"`
	Subject         string `col:"subject" key:"1" doc:"call, stream, host or queue"`
	Text            string `col:"text" doc:"what a reader should know"`
	File            string `col:"file" doc:"evidence: file"`
	Frame           Int    `col:"frame" doc:"evidence: frame"`
	WiresharkFilter string `col:"wireshark_filter" doc:"display filter that finds it"`
}
