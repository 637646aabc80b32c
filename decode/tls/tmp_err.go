package tls
import "errors"
var errOpen = errors.New("tls: record does not authenticate")
