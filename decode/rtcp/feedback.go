package rtcp

// FeedbackKind is what a feedback message asks or tells. New kinds may be
// added.
type FeedbackKind uint8

// The kinds that are told apart; any other format is FeedbackOther.
const (
	FeedbackBad   FeedbackKind = iota
	FeedbackOther              // Feedback.Format tells
	FeedbackNACK               // RTPFB 1, RFC 4585, 6.2.1
	FeedbackTMMBR              // RTPFB 3, RFC 5104, 4.2.1
	FeedbackTMMBN              // RTPFB 4, RFC 5104, 4.2.2
	FeedbackCCFB               // RTPFB 11, RFC 8888, 3.1
	FeedbackTWCC               // RTPFB 15, draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1
	FeedbackPLI                // PSFB 1, RFC 4585, 6.3.1
	FeedbackSLI                // PSFB 2, RFC 4585, 6.3.2
	FeedbackRPSI               // PSFB 3, RFC 4585, 6.3.3
	FeedbackFIR                // PSFB 4, RFC 5104, 4.3.1
	FeedbackAFB                // PSFB 15, RFC 4585, 6.4: application layer
	FeedbackREMB               // PSFB 15 named REMB, draft-alvestrand-rmcat-remb-03, 2.2
)

func (k FeedbackKind) String() string {
	switch k {
	case FeedbackOther:
		return "other"
	case FeedbackNACK:
		return "NACK"
	case FeedbackTMMBR:
		return "TMMBR"
	case FeedbackTMMBN:
		return "TMMBN"
	case FeedbackCCFB:
		return "CCFB"
	case FeedbackTWCC:
		return "TWCC"
	case FeedbackPLI:
		return "PLI"
	case FeedbackSLI:
		return "SLI"
	case FeedbackRPSI:
		return "RPSI"
	case FeedbackFIR:
		return "FIR"
	case FeedbackAFB:
		return "AFB"
	case FeedbackREMB:
		return "REMB"
	}
	return "unknown"
}

// feedbackKind names a feedback packet of at least 12 bytes.
func feedbackKind(p []byte) FeedbackKind {
	format := p[0] & 0x1f
	if Type(p[1]) == TypeRTPFB {
		switch format {
		case 1:
			return FeedbackNACK
		case 3:
			return FeedbackTMMBR
		case 4:
			return FeedbackTMMBN
		case 11:
			return FeedbackCCFB
		case 15:
			return FeedbackTWCC
		}
		return FeedbackOther
	}
	switch format {
	case 1:
		return FeedbackPLI
	case 2:
		return FeedbackSLI
	case 3:
		return FeedbackRPSI
	case 4:
		return FeedbackFIR
	case 15:
		if len(p) >= 16 && string(p[12:16]) == "REMB" {
			return FeedbackREMB
		}
		return FeedbackAFB
	}
	return FeedbackOther
}
