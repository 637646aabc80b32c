// Package sessions makes calls, legs, streams, arrivals and messages of the
// events of one experiment.
//
// In: decode.Events, in any mix of captures and exports. Out: a Trace, the rows
// of the tables (docs/reference/tables.md) that are learned from traffic and
// resources. Signals, streams and their seconds, of which there may be millions,
// are packed: their method All gives a row at a time, At one of them.
//
// New, Add for each event, Finalize: whatever needs hindsight (which call a
// stream belongs to, which CallSid a dialog carries, how a call ended) is
// decided in Finalize. Add copies what it keeps; an event is never held.
//
// A capture is observation (ns), a resource is testimony (mostly 1 s): both
// times of a call are kept, the observed one wins, and times of two clocks are
// subtracted only with the offset that clock.go bounds, and its width. Nothing
// here depends on the order of capture events against export events.
//
// State across messages enters here, a file each: SIP dialogs, RTP streams,
// resources, hosts, clocks. Rates and pictures do not.
package sessions
