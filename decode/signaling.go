package decode

// signaling hands out Twilio's JSON signaling that a WebSocket carried.
func (d *Decoder) signaling(f *Flow, text []byte) bool {
	return false
}
