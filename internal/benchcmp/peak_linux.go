package main

import (
	"os"
	"syscall"
)

// peakOf is the largest resident set of an ended process, in bytes.
func peakOf(s *os.ProcessState) int64 {
	if u, ok := s.SysUsage().(*syscall.Rusage); ok {
		return int64(u.Maxrss) * 1024
	}
	return 0
}
