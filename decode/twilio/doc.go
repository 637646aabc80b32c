// Package twilio decodes exported Twilio resources (messages and calls), the
// queue log of a measurement client, and counts the segments of a text.
//
// Input is the decompressed content of one file; its form is decided from the
// content alone (Sniff). Forms read by Decode:
//
//   - JSON (RFC 8259): one resource, an array, list pages of every generation
//     (keys messages, sms_messages, calls; num_pages and total, PageToken, v1
//     meta), several values one after another, NDJSON, BulkExport, the
//     camelCase of twilio-cli -o json and of JSON.stringify;
//   - XML: TwilioResponse with lists or single Message, SMSMessage, Call;
//   - CSV (RFC 4180): Console message and call logs, getcdrs; the tab-separated
//     and the column output of twilio-cli.
//
// DecodeQueueLog reads the CSV that a measurement client wrote while queueing.
// Segments counts by GSM 03.38 (3GPP TS 23.038) and 3GPP TS 23.040.
//
// A resource is an object with a sid and a creation date; rows of CSV and of
// twilio-cli need the sid only. The sid's first two letters tell the kind.
// Everything else is counted as refused, with a reason, so that Records = Used
// + the sum of Refused. Damage does not end the reading: all that can be
// decoded is emitted first, then the first damage is returned as *wire.Error
// with its byte offset. An object that damage cut is never emitted in part; a
// trailing comma, a missing comma and the "..." of elided documentation are
// named as damage but cost no neighbouring resource.
//
// Units: instants are nanoseconds since 1970 UTC, 0 unknown; durations are in
// the unit of the field's name. A time without zone is taken as UTC; zone
// abbreviations are those of the United States (CST is -06:00). The emitted
// Resource belongs to the decoder until the next one; its strings are copies
// and may be kept. Bodies are counted and dropped.
//
// Bounds: JSON and XML depth 64, a resource 4 MiB, a row 1 MiB; memory does not
// grow with the input.
//
// Not handled: Event Streams (counted as refused), console.log and Python repr
// output, UTF-16 text, duplicates of one sid on several pages (the caller's
// matter), SmartEncoding before counting.
//
// What may enter: other forms of the same two resources, and further REST
// resources of Twilio.
package twilio
