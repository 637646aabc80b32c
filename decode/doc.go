// Package decode turns archived files into one ordered stream of events.
//
// In: files whose kind is known by content (package container): captures,
// exported resources, queue logs. Out: Events, one decoded message each, and
// at the end the rows of tables inputs, captures and ledger and the flows.
// Units: times are ns since 1970 UTC, sizes are bytes.
//
// One pass, in this order:
//
//  1. Every file is identified; captures are ordered by their first frame.
//  2. Frames of all captures are merged by (time, file, frame), before
//     reassembly, so that a rotated set is one capture and TCP connections
//     cross file edges. Within a file the capture's order stands.
//  3. Package link takes a frame to a transport payload; copies of a packet
//     (mirror ports, VLANs, routers) are removed once, here.
//  4. A payload belongs to a Flow. UDP payloads are told apart by content;
//     TCP segments are reassembled by package tcp and the byte stream of each
//     direction is told apart by its first bytes.
//  5. What a format package makes of it is one Event. An Event and all that it
//     points to belong to the Decoder until the next one; only package
//     sessions keeps, and it copies.
//  6. Exports and queue logs follow the captures.
//
// Whatever is not used is counted with a reason in the Ledger, and the sums of
// each layer must balance. A format that decodes bytes without memory has its
// own folder here; state across messages belongs to package sessions.
package decode
