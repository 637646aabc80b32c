package http

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window that the zstd content coding may ask for, RFC
// 9659, 3.
const maxWindow = 8 << 20

// ErrTooLong tells that a decoded body has more than the bytes asked for.
var ErrTooLong = errors.New("http: decoded body is longer than the limit")

// Decode undoes a content coding (RFC 9110, 8.4.1) of a body up to max bytes.
// With an error, what was decoded before it is returned too: a body that was
// cut still gives its beginning.
func Decode(encoding string, body []byte, max int) ([]byte, error) {
	var r io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		if len(body) > max {
			return body[:max:max], ErrTooLong
		}
		return body, nil
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		// RFC 9110, 8.4.1.2 means zlib, and notes that some send raw deflate.
		if r, err = zlib.NewReader(bytes.NewReader(body)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	case "br":
		r = brotli.NewReader(bytes.NewReader(body)) // RFC 7932
	case "zstd":
		// With a concurrency of 1 it decodes within Read.
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return nil, fmt.Errorf("http: content coding %q is not known", encoding)
	}
	if err != nil {
		return nil, fmt.Errorf("http: content coding %s: %w", encoding, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	if len(out) > max {
		return out[:max:max], ErrTooLong
	}
	if err != nil {
		err = fmt.Errorf("http: content coding %s: %w", encoding, err)
	}
	return out, err
}
