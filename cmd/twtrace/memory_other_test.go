//go:build !linux

package main

func watchMemory(int) func() int64 { return func() int64 { return 0 } } // seen on Linux only
