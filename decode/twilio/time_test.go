package twilio

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"Fri, 24 May 2019 17:44:50 +0000":                           "2019-05-24T17:44:50Z",
		"24 May 2019 12:44:50 -0500":                                "2019-05-24T17:44:50Z",
		"Thu, 1 Feb 2024 00:00:00 GMT":                              "2024-02-01T00:00:00Z",
		"Sat, 31 Dec 2016 23:59:60 +0000":                           "2017-01-01T00:00:00Z", // leap second
		"2019-05-24T17:44:50Z":                                      "2019-05-24T17:44:50Z",
		"2019-05-24T17:44:50":                                       "2019-05-24T17:44:50Z",
		"2019-05-24T17:44:50.123Z":                                  "2019-05-24T17:44:50.123Z",
		"2019-05-24 12:44:50.1234567891-05:00":                      "2019-05-24T17:44:50.123456789Z",
		"2019-05-24T23:14:50+0530":                                  "2019-05-24T17:44:50Z",
		"2019-05-24 17:44:50 UTC":                                   "2019-05-24T17:44:50Z",
		"2019-05-24 13:44:50 EDT":                                   "2019-05-24T17:44:50Z",
		"May 24 2019 12:44:50 GMT-0500":                             "2019-05-24T17:44:50Z",
		"May 4 2019 12:44:50 GMT+0000":                              "2019-05-04T12:44:50Z",
		"Fri May 24 2019 12:44:50 GMT-0500 (Central Daylight Time)": "2019-05-24T17:44:50Z",
		"14:52:06 EDT 2020-09-10":                                   "2020-09-10T18:52:06Z",
		"14:52:06 PST 2020-12-31":                                   "2020-12-31T22:52:06Z",
		" 2019-05-24T17:44:50Z ":                                    "2019-05-24T17:44:50Z",
		"0000-01-01T00:00:00Z":                                      "", "2019-05-24": "", "2019-05-24T17:44Z": "", "2019-02-29T00:00:00Z": "", "2019-13-01T00:00:00Z": "",
		"2019-05-24T24:00:00Z": "", "2019-05-24T17:44:50.Z": "", "2019-05-24T17:44:50ZZ": "", "2019-05-24T17:44:50 XYZ": "", "": "", "null": "", "Fri": "", "Fri, ": "",
		"Fri, 24 Maz 2019 17:44:50 +0000": "", "Fri, 24 May 2019 17:44:50": "", "Fri, 24 May 2019 17:44:50 +2460": "", "9999-01-01T00:00:00Z": "", "1500-01-01T00:00:00Z": "",
		"14:52:06 2020-09-10": "", "May 24 2019 12:44:50 GMT-0500 (CDT": "", "24.05.2019 17:44:50": "", "05/24/2019 17:44:50": "",
	} {
		ns, _, ok := parseTime([]byte(text), false)
		if ok != (want != "") || ok && ns != at(want) {
			t.Errorf("%q: %s, %v; want %q", text, time.Unix(0, ns).UTC().Format(time.RFC3339Nano), ok, want)
		}
	}
	if _, _, ok := parseTime([]byte("2019-05-24T17:44:50"), true); ok {
		t.Error("no zone, though one was asked for")
	}
}

// Every spelling of a random instant, written by package time.
func TestParseTimeAgainstStd(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	layouts := []string{time.RFC1123Z, time.RFC3339Nano, "2006-01-02T15:04:05.000Z07:00", "Jan 2 2006 15:04:05 GMT-0700", "Mon Jan 02 2006 15:04:05 GMT-0700", "2 Jan 2006 15:04:05 -0700"}
	for range 20000 {
		zone := time.FixedZone("", (rnd.IntN(24*4)-12*4)*900)
		u := time.Unix(rnd.Int64N(4e9)-1e9, rnd.Int64N(1e9)).In(zone)
		for _, l := range layouts {
			text := u.Format(l)
			want, err := time.Parse(l, text)
			if err != nil {
				t.Fatal(err)
			}
			if ns, _, ok := parseTime([]byte(text), true); !ok || ns != want.UnixNano() {
				t.Fatalf("%q: %d, %v; want %d", text, ns, ok, want.UnixNano())
			}
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"Fri, 24 May 2019 17:44:50 +0000", "2019-05-24T17:44:50.123Z", "May 24 2019 12:44:50 GMT-0500 (x)", "14:52:06 EDT 2020-09-10", "1234567890.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ns, res, ok := parseTime([]byte(s), false)
		if ok && (res != 1e9 && res != 1e6 && res != 1e3 && res != 1) {
			t.Fatalf("%q: resolution %d", s, res)
		}
		// Wherever RFC 3339 in package time reads it, so do we, and alike.
		if u, err := time.Parse(time.RFC3339Nano, s); err == nil && u.Year() > 1700 && u.Year() < 2200 && u.Second() < 60 && (!ok || ns != u.UnixNano()) {
			t.Fatalf("%q: %d, %v; package time says %d", s, ns, ok, u.UnixNano())
		}
		parseEpoch([]byte(s))
	})
}

func TestParseEpoch(t *testing.T) {
	for text, want := range map[string]int64{
		"1788264001": 1788264001e9, "1788264001.136546067": 1788264001136546067, "1788264001.5": 1788264001500000000, "1788264001.1365460679": 1788264001136546067,
		"0": 0, "9223372035.999999999": 9223372035999999999,
		"9223372036": -1, "1788264001136": -1, "-1": -1, "1.": -1, ".5": -1, "1e9": -1, "": -1, "1.5x": -1, "1,5": -1,
	} {
		got, ok := parseEpoch([]byte(text))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
}

// The same text again is the same time, and what is not understood is counted
// each time.
func TestTimesThatRepeat(t *testing.T) {
	const whole, fine, bad = "Thu, 21 Nov 2013 18:03:20 +0000", "2013-11-21T18:03:21.250Z", "Thu, 21 Nov"
	var doc strings.Builder
	dates := []string{whole, whole, fine, fine, bad, bad, whole, fine}
	for i, at := range dates {
		fmt.Fprintf(&doc, `{"sid":"SM%032x","date_created":%q,"date_sent":%q}`+"\n", i, at, whole)
	}
	n := 0
	stats, err := Decode(strings.NewReader(doc.String()), func(r *Resource) error {
		var created, resolution int64
		switch dates[n] {
		case whole:
			created, resolution = 1385057000e9, 1e9
		case fine:
			created, resolution = 1385057001.25e9, 1e6
		case bad:
			resolution = 1e9
		}
		if r.Created != created || r.Sent != 1385057000e9 || r.ResolutionNS != resolution {
			t.Errorf("record %d: created %d, sent %d, resolution %d; want %d and %d", n, r.Created, r.Sent, r.ResolutionNS, created, resolution)
		}
		n++
		return nil
	})
	if err != nil || n != len(dates) || len(stats.Fields) != 1 || stats.Fields[0].Count != 2 {
		t.Errorf("%d records, %+v, %v", n, stats, err)
	}
}
