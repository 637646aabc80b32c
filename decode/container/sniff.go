package container

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Sniff tells what a file is from its leading decompressed bytes, of which it
// looks at up to HeadSize.
func Sniff(head []byte) Kind {
	head = head[:min(len(head), HeadSize)]
	if k := sniffFirst(head); k != Unknown {
		return k
	}
	text := textOf(head)
	if len(text) == 0 {
		return Unknown
	}
	switch text[0] {
	case '{', '[':
		return Unknown
	case '<':
		if bytes.Contains(text, []byte("<TwilioResponse")) && !bytes.Contains(text, []byte("<RestException")) {
			return Resources
		}
		return Unknown
	}
	if keylog(text) {
		return Keylog
	}
	if k := table(text); k != Unknown {
		return k
	}
	if manifest(text) {
		return Manifest
	}
	return Unknown
}

// sniffFirst finds the kinds that show by themselves: whatever follows, they
// are no other.
func sniffFirst(head []byte) Kind {
	if k := sniffBinary(head); k != Unknown {
		return k
	}
	if text := textOf(head); len(text) > 0 && (text[0] == '{' || text[0] == '[') && jsonResources(text) {
		return Resources
	}
	return Unknown
}

// textOf is head without what may stand before a text.
func textOf(head []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
}

func sniffBinary(head []byte) Kind {
	if len(head) < 4 {
		return Unknown
	}
	switch binary.LittleEndian.Uint32(head) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1, 0xa1b2cd34, 0x34cdb2a1:
		return Pcap
	case 0x0a0d0d0a:
		if len(head) >= 12 && (string(head[8:12]) == "\x4d\x3c\x2b\x1a" || string(head[8:12]) == "\x1a\x2b\x3c\x4d") {
			return Pcapng
		}
	case 0x04034b50, 0x06054b50: // the second: an archive without members
		return Zip
	}
	if tarHeader(head) {
		return Tar
	}
	return Unknown
}

// tarHeader checks the sum of a header's bytes, which the field at 148 holds
// in octal; there is a magic only since ustar.
func tarHeader(head []byte) bool {
	if len(head) < 512 || head[0] == 0 {
		return false
	}
	field := strings.Trim(string(head[148:156]), " \x00")
	want, err := strconv.ParseUint(field, 8, 32)
	if err != nil {
		return false
	}
	sum := uint64(8 * ' ') // the field itself counts as spaces
	for i, c := range head[:512] {
		if i < 148 || i >= 156 {
			sum += uint64(c)
		}
	}
	return sum == want
}

// jsonResources looks for a resource, an object with a sid and a creation
// date, or a list page, possibly empty. It is not a parser: documents are cut
// off at HeadSize, and examples with commas too many or missing are common.
func jsonResources(b []byte) bool {
	// Resource, array of resources, page with an array, array of pages.
	const deepest = 4
	var level [deepest + 1]struct {
		object, sid, date bool
		paging            int  // of "page" and "page_size"; "meta" has both
		list, inList      bool // has a key of resources; it is the latest one
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
			if depth <= deepest {
				clear(level[depth : depth+1])
				level[depth].object = b[i] == '{'
			}
		case '}', ']':
			depth = max(depth-1, 0)
		case '"':
			start := i + 1
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if i >= len(b) {
				return false
			}
			s := b[start:i]
			rest := b[i+1:]
			for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n') {
				rest = rest[1:]
			}
			if len(rest) == 0 || rest[0] != ':' || depth == 0 || depth > deepest || !level[depth].object {
				continue
			}
			l := &level[depth]
			// Where pages and resources may be: at the top, in an array there, or,
			// resources, in a page's array. Other documents, a test's own notes
			// for one, hold such objects elsewhere and are no export.
			isPage := depth == 1 || depth == 2 && !level[1].object
			isResource := isPage || depth >= 3 && !level[depth-1].object && level[depth-2].object && level[depth-2].inList && (depth == 3 || !level[1].object)
			l.inList = false
			switch string(s) {
			case "sid":
				l.sid = true
			case "date_created", "dateCreated":
				l.date = true
			case "first_page_uri", "firstPageUri":
				if isPage {
					return true
				}
			case "page", "page_size", "pageSize":
				l.paging++
			case "meta":
				l.paging += 2
			case "messages", "calls", "sms_messages", "smsMessages":
				l.list, l.inList = true, true
			}
			if l.sid && l.date && isResource || l.paging >= 2 && l.list && isPage {
				return true
			}
		}
	}
	return false
}

// keylog looks for one line that truly is a secret.
func keylog(b []byte) bool {
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if keyLine(line) {
			return true
		}
	}
	return false
}

func keyLine(line []byte) bool {
	label, rest, _ := strings.Cut(strings.Trim(string(line[:min(len(line), 4096)]), " \t\r\x00"), " ")
	first, secret, ok := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if !ok {
		return false
	}
	secret = strings.TrimLeft(secret, " ")
	switch {
	case label == "RSA":
		if strings.HasPrefix(first, "Session-ID:") {
			return isHex(strings.TrimPrefix(first, "Session-ID:"), 0) && isHex(strings.TrimPrefix(secret, "Master-Key:"), 96)
		}
		return isHex(first, 16) && isHex(secret, 96) // first 8 bytes of the encrypted premaster secret
	case label == "CLIENT_RANDOM", label == "PMS_CLIENT_RANDOM":
		return len(first) == 64 && isHex(first, 64) && isHex(secret, 96)
	case label == "EXPORTER_SECRET", strings.HasSuffix(label, "_SECRET"), label == "ECH_CONFIG",
		strings.HasSuffix(strings.TrimRight(label, "0123456789"), "_TRAFFIC_SECRET_"):
		return len(first) == 64 && isHex(first, 64) && isHex(secret, 32)
	}
	return false
}

// isHex wants at least n hexadecimal digits and nothing else, in pairs.
func isHex(s string, n int) bool {
	if len(s) < n || len(s)%2 != 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// table looks at the header of comma, semicolon or tab separated values, or of
// columns with at least two spaces between them.
func table(b []byte) Kind {
	line, _, whole := bytes.Cut(b, []byte{'\n'})
	if len(line) > 4096 || !whole && len(b) == HeadSize {
		return Unknown
	}
	header := strings.TrimRight(string(line), "\r ")
	var names []string
	switch {
	case strings.Contains(header, "\t"):
		names = strings.Split(header, "\t")
	case strings.Contains(header, ","):
		names = strings.Split(header, ",")
	case strings.Contains(header, ";"):
		names = strings.Split(header, ";")
	default:
		names = strings.Split(header, "  ")
	}
	var time, kind, to, sid bool
	other := 0
	for _, n := range names {
		switch plain(n) {
		case "time":
			time = true
		case "kind":
			kind = true
		case "to":
			to = true
			other++
		case "sid", "callsid", "messagesid", "smssid", "smsmessagesid":
			sid = true
		case "from", "status", "direction", "body", "duration", "price", "numsegments", "errorcode", "queuetime",
			"datecreated", "datesent", "dateupdated", "sentdate", "createddate", "starttime", "startdate", "endtime":
			other++
		}
	}
	switch {
	case time && kind && to:
		return QueueLog
	case sid && other >= 2:
		return Resources
	}
	return Unknown
}

// plain makes "Date Sent", date_sent and dateSent the same.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c == ' ', c == '_', c == '"', c == '\'', c == '-':
			return -1
		}
		return c
	}, strings.TrimSpace(name))
}

// manifest wants every line at the left margin to be a YAML mapping's key,
// at least two of them those of a manifest and most of them so, or, in a
// shorter file, all of them.
func manifest(b []byte) bool {
	known, unknown := 0, 0
	for raw := range bytes.SplitSeq(b, []byte{'\n'}) {
		line := strings.TrimRight(string(raw), "\r \t")
		if line == "" || line == "---" || line == "..." || strings.ContainsAny(line[:1], " \t#-]}") {
			continue
		}
		key, rest, ok := strings.Cut(line, ":")
		if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return false
		}
		switch strings.Trim(key, `"' `) {
		case "name", "kind", "calls", "body_bytes", "guarantee", "endpoint", "queue_by", "segmenting", "repeat", "started", "labels", "notes":
			known++
		default:
			if strings.ContainsAny(key, " \t\x00") {
				return false
			}
			unknown++
		}
	}
	return known >= 2 && known >= unknown || known == 1 && unknown == 0
}

// Describe names what an unknown file looks like, for error messages.
func Describe(head []byte) string {
	if len(head) == 0 {
		return "an empty file"
	}
	for _, m := range [...]struct{ magic, name string }{
		{"snoop\x00\x00\x00", "a Sun snoop capture"},
		{"GMBU", "a Microsoft Network Monitor capture"},
		{"RTSS", "a Microsoft Network Monitor capture"},
		{"XCP\x00", "a NetXRay or Sniffer capture"},
		{"TRSNIFF data    \x1a", "a DOS Sniffer capture"},
		{"btsnoop\x00", "a Bluetooth HCI log"},
		{"\x7fver", "a Savvius tagged Peek capture"},
		{"EyeSDN", "an EyeSDN trace"},
		{"\x00\x00\x02\x00\x12\x05\x00\x10", "a Tektronix K12 capture"},
		{"+---------+---------------+----------+", "a Tektronix K12 text capture"},
		{"\xff\xfe \x00C\x00O\x00M\x00M\x00U\x00N\x00", "an IBM iSeries communication trace"},
		{"\x1c\x00\x01\xac", "an Ixia lcap capture"},
		{"\xac\x01\x00\x1c", "an Ixia lcap capture"},
		{"\x04\x22\x4d\x18", "lz4 data, decompress it first"},
		{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"},
		{"Rar!\x1a\x07", "a RAR archive"},
		{"%PDF-", "a PDF document"},
		{"\x89PNG\r\n\x1a\n", "a PNG image"},
		{"\xff\xd8\xff", "a JPEG image"},
		{"SQLite format 3\x00", "an SQLite database"},
		{"PAR1", "a Parquet file"},
		{"ARROW1\x00\x00", "an Arrow file"},
		{"RIFF", "a RIFF file (WAV, AVI)"},
		{"OggS", "an Ogg file"},
		{"\x7fELF", "a program"},
		{"version https://git-lfs", "a Git LFS pointer, not the file itself"},
		{"INVITE sip:", "SIP as text, without its packets"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.name
		}
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	lower := bytes.ToLower(text[:min(len(text), 256)])
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	switch {
	case len(text) == 0:
		return "a file of white space"
	case bytes.HasPrefix(lower, []byte("<!doctype html")), bytes.HasPrefix(lower, []byte("<html")):
		return "an HTML page"
	case Compressed(head) != None:
		return string(Compressed(head)) + " data"
	case erf(head):
		return "what looks like an Endace ERF capture"
	case bytes.IndexByte(head, 0) >= 0:
		return fmt.Sprintf("an unknown binary file that starts with %x", head[:min(len(head), 8)])
	case text[0] == '{', text[0] == '[':
		return "JSON without resources"
	case text[0] == '<':
		return "XML or HTML without resources"
	case bytes.Count(line, []byte{','}) >= 2:
		return "a table without the columns of resources or of a queue log"
	}
	return "text of no known kind"
}

// erf recognises an extensible record format header, which has no magic:
// little-endian 32.32 time, type 1-48 (top bit: an extension follows), flags,
// big-endian record length, loss counter, wire length.
func erf(head []byte) bool {
	if len(head) < 16 || !bytes.ContainsFunc(head[:min(len(head), 64)], func(c rune) bool { return c < '\t' }) {
		return false
	}
	sec := binary.LittleEndian.Uint32(head[4:])
	typ, rlen, wlen := head[8]&0x7f, binary.BigEndian.Uint16(head[10:]), binary.BigEndian.Uint16(head[14:])
	return sec > 800e6 && typ >= 1 && typ <= 48 && rlen >= 16 && wlen > 0 && head[9]&0xc0 == 0 && int(rlen) <= int(wlen)+64
}
