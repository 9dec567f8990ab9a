// Package bench measures a replicated volume as its users get it: two `holdfast volume` processes of this program on this
// machine, each with its own root and its own guard, bound to a cluster (TLS 1.3 between them), the Primary's device made by
// FUSE and loop; and, alternating with it in the same run, a plain loop device with direct I/O over a file on the same disk.
// What is shown is the ratio of the two, because an absolute figure says more about the machine.
//
//	fio - loop - FUSE - volume a - a/disk
//	                       | TLS on loopback
//	                    volume b - b/disk
//	fio - loop - plain/disk
//
// After that, sysbench's oltp_write_only on a MariaDB with its files on either device, and on one that replicates to a second
// MariaDB by itself: semi-synchronously, and with Galera. Each of these servers has a plain loop device of its own on the
// same disk.
//
// The tool stands in for the daemons and the log: it gives both processes the views that a cluster's log would give, and
// the guards a lease.
package bench

import "time"

// Limits of a run.
const (
	// patience bounds the wait for a state of a volume; a full resync is the longest.
	patience = 5 * time.Minute
	// poll is the pause between two looks for a socket or an end of a process.
	poll = 5 * time.Millisecond
	// DefaultSizeMiB, DefaultSeconds and DefaultRounds are what a run does when nothing else is asked for.
	DefaultSizeMiB = 1024
	DefaultSeconds = 2
	DefaultRounds  = 3
	minSizeMiB     = 64
	// minDatabaseMiB is what a server's files need, with those that Galera and the binary log keep beside them.
	minDatabaseMiB = 512
	// pollDatabase is the pause between two questions to a server that is not ready.
	pollDatabase = 50 * time.Millisecond
	resource     = "bench"
	nodeA, nodeB = "bench-a", "bench-b"
)
