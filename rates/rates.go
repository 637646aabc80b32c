package rates

import "github.com/twtrace/twtrace/sessions"

// Options are the user's choices; the zero value means the defaults.
type Options struct {
	GuaranteePerS float64      // promised rate, segments a second; 0 is 1/s
	TolerancePct  float64      // of the expected rate; 0 is 5
	Segmenting    string       // "", "provider", "gsm", "160"; "" is provider, else gsm
	QueueBy       string       // "", "account", "from", "service"; "" is CLI.md's default
	CallX         sessions.Int // calls between the two observed ones, when a manifest says so
	MessageX      sessions.Int // body bytes, when a manifest says so
	Endpoint      string       // the observed endpoint, when a manifest says so
}

// Compute makes the rates of one run. arrivals are in queue order; messages
// and calls in any order. Nothing of the input is kept or changed.
func Compute(arrivals []sessions.Arrival, calls []sessions.CallResource, messages []sessions.Message, opt Options) []Rate {
	return nil
}
