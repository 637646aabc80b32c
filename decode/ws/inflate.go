package ws

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
)

const (
	window      = 32 << 10 // RFC 1951, 2: the farthest back-reference
	maxInflated = 4 << 20
	maxRestarts = 64
)

// tail ends a message's DEFLATE data: the four bytes of RFC 7692, 7.2.2 that
// the sender took off, and an empty last block, so that the reader ends.
const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// inflater undoes permessage-deflate. out holds at most the last window of the
// previous messages, then the message at hand.
type inflater struct {
	r    io.ReadCloser
	src  bytes.Reader
	in   []byte // the message and tail
	out  []byte
	lost bool // what precedes out is not known
}

// lose forgets the window, because bytes that went into it are not known.
func (d *inflater) lose() {
	d.out = d.out[:0]
	d.lost = true
}

// message inflates a message. fresh tells that the sender began it with an
// empty window, complete that data is all of it. The result is valid until
// the next call; whole tells that it is all of the message. contextLost tells
// that it ends where it refers to bytes that a gap swallowed.
func (d *inflater) message(data []byte, fresh, complete bool) (plain []byte, whole, contextLost bool) {
	if fresh {
		d.out, d.lost = d.out[:0], false
	}
	if n := len(d.out) - window; n > 0 {
		d.out = d.out[:copy(d.out, d.out[n:])]
	}
	if cap(d.out) > 1<<20 {
		d.out = bytes.Clone(d.out)
	}
	start := len(d.out)
	limit := start + min(maxInflated, 64<<10+256*len(data))
	d.in = append(d.in[:0], data...)
	if complete {
		d.in = append(d.in, tail...)
	}
	d.src.Reset(d.in)
	err := d.run(start, limit)
	if !complete && err == nil {
		err = io.ErrUnexpectedEOF
	}
	plain = d.out[start:]
	if err == nil {
		d.lost = d.lost && len(d.out) < window
		return plain, true, false
	}
	var corrupt flate.CorruptInputError
	contextLost = d.lost && errors.As(err, &corrupt)
	d.lost = true
	// plain stays valid although the window that it would be part of is void.
	d.out = d.out[:0]
	return plain, false, contextLost
}

func (d *inflater) run(start, limit int) error {
	for range maxRestarts {
		dict := d.out[max(0, len(d.out)-window):]
		if d.r == nil {
			d.r = flate.NewReaderDict(&d.src, dict)
		} else if err := d.r.(flate.Resetter).Reset(&d.src, dict); err != nil {
			return err
		}
		for {
			if len(d.out) == cap(d.out) {
				d.out = append(d.out, make([]byte, 4096)...)[:len(d.out)]
			}
			n, err := d.r.Read(d.out[len(d.out):min(cap(d.out), limit+1)])
			d.out = d.out[:len(d.out)+n]
			if len(d.out) > limit {
				d.out = d.out[:limit]
				return errTooLong
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		// RFC 7692, 7.2.3.4: a sender may end a block as the last one and go
		// on, after an octet boundary, with another.
		if d.src.Len() <= len(tail) {
			return nil
		}
	}
	return errTooLong
}

var errTooLong = errors.New("ws: inflated message is longer than the limit")
