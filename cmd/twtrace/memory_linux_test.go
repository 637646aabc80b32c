package main

import (
	"os"
	"syscall"
)

// peakMemory is the most that a process had, in bytes.
func peakMemory(s *os.ProcessState) int64 { return s.SysUsage().(*syscall.Rusage).Maxrss << 10 }
