// Package drbdutils is for tests that run the real drbdmeta, of drbd-utils, beside ours.
package drbdutils

import (
	"os"
	"strconv"
)

// Minor is the device number to give drbdmeta. It takes a lock for that, and fails where another process has it: each process
// has a number of its own.
func Minor() string { return strconv.Itoa(os.Getpid() % (1 << 20)) }
