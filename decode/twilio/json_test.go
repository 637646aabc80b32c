package twilio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
)

// stdObject is what encoding/json reads of an object, under our names.
type stdObject map[field]string

// stdResources walks a text that encoding/json accepts and gives each object
// that is a message or call, in the order in which they end.
func stdResources(t *testing.T, text []byte) []stdObject {
	var out []stdObject
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	names := &jsonDecoder{decoder: &decoder{}}
	token := func() json.Token {
		tok, err := dec.Token()
		if err != nil {
			t.Fatalf("token: %v in %q", err, text)
		}
		return tok
	}
	// value gives the text of a string or number, "" and false of others.
	var value func(tok json.Token) (string, bool)
	value = func(tok json.Token) (string, bool) {
		switch v := tok.(type) {
		case string:
			return v, true
		case json.Number:
			return v.String(), true
		case json.Delim:
			if v == '[' {
				for {
					if tok := token(); tok == json.Delim(']') {
						return "", false
					} else {
						value(tok)
					}
				}
			}
			o, created := stdObject{}, false
			for {
				tok := token()
				if tok == json.Delim('}') {
					break
				}
				f := names.key([]byte(tok.(string)))
				created = created || f == fCreated
				s, ok := value(token())
				delete(o, f)
				if ok && f != fNone && f < nFields {
					o[f] = s
				}
			}
			if kind, _, _ := sidKind([]byte(o[fSID])); kind != KindUnknown && created {
				out = append(out, o)
			}
		}
		return "", false
	}
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("token: %v in %q", err, text)
		}
		value(tok)
	}
}

func stdAccepts(text []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err == io.EOF
		}
	}
}

func decodeJSON(text []byte, window int) ([]Resource, Stats, error) {
	var out []Resource
	d := &decoder{in: newInput(iotest.HalfReader(bytes.NewReader(text)), make([]byte, window)), intern: map[string]string{}, spare: &jsonDecoder{}}
	d.emit = func(r *Resource) error { out = append(out, *r); return nil }
	d.json()
	st, err := d.finish()
	return out, st, err
}

func checkAgainstStd(t *testing.T, text []byte) {
	t.Helper()
	if bytes.HasPrefix(text, utf8BOM) || bytes.Contains(text, []byte("spec")) || len(text) > maxStored {
		return // a mark at the start is ours to accept; an event is not emitted
	}
	got, st, err := decodeJSON(text, windowBytes)
	checkStats(t, st, len(text))
	var w *wire.Error
	if err != nil && (!errors.As(err, &w) || w.Off < 0 || w.Off > int64(len(text)) || st.Damaged == 0) {
		t.Fatalf("%q: %v", text, err)
	}
	if w != nil && strings.Contains(w.Msg, "64 levels") {
		return
	}
	if std := stdAccepts(text); std != (err == nil) {
		t.Fatalf("%q: encoding/json accepts: %v; we: %v", text, std, err)
	}
	for _, window := range []int{1, 7, 64} {
		small, st2, err2 := decodeJSON(text, window)
		// After damage the window bounds how far back the search begins.
		if err == nil && (err2 != nil || !reflect.DeepEqual(small, got) || !reflect.DeepEqual(st, st2)) {
			t.Fatalf("%q: a window of %d gives %+v %+v %v, not %+v %+v", text, window, small, st2, err2, got, st)
		}
		if err != nil && (err2 == nil || err2.Error() != err.Error()) {
			t.Fatalf("%q: a window of %d gives %v, not %v", text, window, err2, err)
		}
	}
	if err != nil {
		return
	}
	want := stdResources(t, text)
	if len(got) != len(want) {
		t.Fatalf("%q: %d resources, encoding/json %d", text, len(got), len(want))
	}
	for i, o := range want {
		r := got[i]
		for f, s := range map[field]string{fSID: r.SID, fAccount: r.AccountSID, fParent: r.ParentCallSID, fService: r.MessagingServiceSID, fStatus: r.Status, fDirection: r.Direction,
			fFrom: r.From, fTo: r.To, fAnswered: r.AnsweredBy, fNumber: r.PhoneNumberSID, fErrorMessage: r.ErrorMessage} {
			if w := o[f]; w != s && (len(w) <= 64 || s != w[:64]) { // a number is cut at 64
				t.Fatalf("%q: member %d is %q, encoding/json %q", text, f, s, w)
			}
		}
		body, known := o[fBody]
		if known != r.Body.Known || known && len(body) <= 64 && r.Body != Segments([]byte(body)) {
			t.Fatalf("%q: body %+v, encoding/json %q", text, r.Body, body)
		}
		if !utf8.ValidString(r.To) {
			t.Fatalf("%q: %q", text, r.To)
		}
	}
}

var jsonTexts = []string{
	`[]`, `{}`, `[{}]`, `{"a":[]}`, ` [ 1 , -0.5e+3 , 0 , 1E9, true,false,null,"" ] `, `{}{}[]1"a"true`, `1 2 3`, `01`, `-`, `1.`, `1e`, `.5`, `+1`, `tru`, `nulll`, `truefalse`,
	`[1,]`, `{"a":1,}`, `{,}`, `[,]`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`, `["\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\"]`, `["\ud83d"]`, `["\ud83d\ud83d\ude00"]`, `["\ude00\ud83d"]`, `["\ud83dx\ude00"]`,
	`["\ud83d\n"]`, `["\u12g4"]`, `["\x41"]`, "[\"a\tb\"]", "[\"a\x00b\"]", "[\"a\x7fb\"]", "[\"\xff\xc3\x28\xed\xa0\x80\"]", "[1]\x00", "[1]x", "\"", "\"\\", `"\u`, "\ufeff[]", "[\"\xc3\\u00a9\"]",
	"\u00a0[]", "[\v1]", strings.Repeat("[", 63) + strings.Repeat("]", 63), strings.Repeat("[", 70) + strings.Repeat("]", 70), `{"a":{"b":[{"c":{}}]}}`, `[1 2]`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`, `[{}{}]`, `...`,
	`{"sid":"` + sidA + `","date_created":null,"to":"\ud83d\ude00\u00e9\ud800","body":"\ud83d\ude00` + "\xff" + `","status":5,"from":true}`,
	`{"sid":"` + sidA + `","date_created":"","sid":"` + sidC + `","to":"a","to":null,"from":"b","from":"c","status":{"x":1}}`,
	`[{"messages":[{"sid":"` + sidB + `","dateCreated":1,"body":"a\nb","x":{"sid":"` + sidC + `","date_created":2}}]}]`,
	`{"sid":"` + sidA + `","date_created":"","body":12345678901234567890,"direction":1e400}`,
}

func TestJSONAgainstStd(t *testing.T) {
	for _, text := range append(jsonTexts, messageREST, messageCamel, callREST) {
		checkAgainstStd(t, []byte(text))
		for i := range text { // cut anywhere
			checkAgainstStd(t, []byte(text[:i]))
		}
	}
}

func FuzzJSONAgainstStd(f *testing.F) {
	for _, s := range append(jsonTexts, messageREST, messageCamel, callREST) {
		f.Add([]byte(s))
	}
	f.Fuzz(checkAgainstStd)
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		messageREST, oneLine(messageCamel) + "\n" + oneLine(callREST), "[" + messageREST + ",]", messageREST[:200] + "\n" + callREST,
		`<?xml version="1.0"?><TwilioResponse><Messages page="0">` + messageXML + `</Messages></TwilioResponse>`, `<TwilioResponse>` + callXML + `<Call><Sid>&x;`,
		"Sid,From,Body\n" + sidA + ",\"+1\",\"a\"\"b\n\"\n", "sid\tfrom\tdateSent\n" + sidA + "\t+1\tMay 24 2019 12:44:50 GMT-0500\n",
		"SID                                 From  Body\n" + sidA + "  +1    a  b\n" + sidB + "        x\n", "time,kind,to\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		records := int64(0)
		offsets := map[int64]bool{}
		st, err := Decode(bytes.NewReader(data), func(r *Resource) error {
			if offsets[r.Offset] {
				t.Fatalf("twice the resource at byte %d", r.Offset)
			}
			offsets[r.Offset] = true
			if r.Kind == KindUnknown || r.SID == "" || r.Record <= records || r.Offset < 0 || r.Offset >= int64(len(data)) {
				t.Fatalf("%+v", r)
			}
			for _, s := range []string{r.SID, r.AccountSID, r.Status, r.Direction, r.From, r.To, r.ErrorMessage} {
				if !utf8.ValidString(s) {
					t.Fatalf("%q", s)
				}
			}
			records = r.Record
			return nil
		})
		checkStats(t, st, len(data))
		var w *wire.Error
		if err != nil && (!errors.As(err, &w) || w.Off < 0 || w.Off > int64(len(data))) {
			t.Fatal(err)
		}
		if (err == nil) != (st.Damaged == 0 && st.Form != "") {
			t.Fatalf("%+v, %v", st, err)
		}
	})
}

// Damage at every byte of a page costs the resource that holds it and no more
// than its neighbours; each resource that comes out is whole.
func TestDamageAnywhere(t *testing.T) {
	text := "{\"page\":0,\"messages\":[" + oneLine(messageREST) + ",\n" + oneLine(callREST) + ",\n" + oneLine(messageCamel) + "]}"
	whole, _, err := decodeAll(t, text)
	if err != nil || len(whole) != 3 {
		t.Fatal(err)
	}
	for i := range text {
		for _, c := range []byte("\x00{}[]\",:x\n") {
			got, st, err := decodeJSON([]byte(text[:i]+string(c)+text[i+1:]), windowBytes)
			checkStats(t, st, len(text))
			if len(got) < 1 {
				t.Fatalf("byte %d set to %q: nothing comes out: %v", i, c, err)
			}
			for _, r := range got {
				if len(r.SID) != 34 {
					t.Fatalf("byte %d set to %q: %+v", i, c, r)
				}
			}
			if err == nil && len(got) < 2 {
				t.Fatalf("byte %d set to %q: %d resources and no error", i, c, len(got))
			}
		}
	}
}
