package decode

import (
	"bytes"
	"strings"

	"github.com/twtrace/twtrace/decode/mediastream"
	"github.com/twtrace/twtrace/decode/pstream"
)

// signaling hands out Twilio's JSON signaling that a WebSocket message carried,
// each object as an event; false when it is something else. d.event is set up.
func (d *Decoder) signaling(f *Flow, text []byte) bool {
	if pstream.IsHeartbeat(text) {
		return false
	}
	known := f.Apps[AppPStream] > 0 // then no media stream is likely
	if known && d.pstreamText(f, text) {
		return true
	}
	if mediastream.Decode(text, &d.media) == nil && d.media.Event != mediastream.EventUnknown {
		f.Apps[AppMediaStream]++
		d.event.Kind, d.event.Media = EventMediaStream, &d.media
		d.emit()
		return true
	}
	return !known && d.pstreamText(f, text)
}

// pstreamText hands out the browser signaling in a text message; false when
// there is none.
func (d *Decoder) pstreamText(f *Flow, text []byte) bool {
	found := false
	take := func(object []byte) bool {
		if err := pstream.Decode(object, &d.pstream); err != nil || !isSignaling(f, &d.pstream) {
			if found {
				d.ledger.Count(LayerPStream, "malformed", int64(len(object)))
			}
			return found
		}
		found = true
		f.Apps[AppPStream]++
		d.ledger.Count(LayerPStream, ReasonUsed, int64(len(object)))
		d.event.Kind, d.event.PStream, d.event.Text = EventPStream, &d.pstream, object
		d.emit()
		return !d.stopped
	}
	if f.Apps[AppPStream] > 0 { // mostly one object, whose end need not be sought
		take(bytes.Trim(text, " \t\r\n"))
	}
	if !found {
		pstream.Split(text, take)
	}
	return found
}

// isSignaling tells Twilio's messages from those of others that name a type
// too: PStream has its version, the older generations their hosts or known
// types.
func isSignaling(f *Flow, m *pstream.Message) bool {
	if m.Generation == pstream.PStream {
		return m.Version != ""
	}
	return m.Generation != pstream.GenerationBad && (m.Type != pstream.TypeUnknown || strings.HasSuffix(f.ServerName, ".twilio.com"))
}
