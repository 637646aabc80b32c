package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchMemory gives the function that tells the most memory that a process had,
// in bytes, as seen until it ended. What wait4 says includes what this process
// had when it started the other.
func watchMemory(pid int) func() int64 {
	end, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for {
			select {
			case <-end:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				continue
			}
			_, rest, _ := strings.Cut(string(b), "VmHWM:")
			kb, _, _ := strings.Cut(rest, "kB")
			if n, err := strconv.ParseInt(strings.TrimSpace(kb), 10, 64); err == nil {
				most = max(most, n<<10)
			}
		}
	}()
	return func() int64 {
		close(end)
		return <-peak
	}
}
