package main

import "syscall"

// memoryDir is a folder in memory with a gigabyte to spare, "" when there is
// none. What is written there is synced at once: these tests write ten thousand
// small files, each brought to disk, and do not test the disk.
func memoryDir() string {
	const dir, tmpfs = "/dev/shm", 0x01021994
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil || int64(s.Type) != tmpfs || uint64(s.Bavail)*uint64(s.Bsize) < 1<<30 || syscall.Access(dir, 2) != nil {
		return ""
	}
	return dir
}
