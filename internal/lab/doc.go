// Package lab runs virtual hosts on one machine, for the demo and the tests, and breaks them on request.
//
// The shipped topology is the tutorial's:
//
//	                            client 10.0.4.10
//	                               |  subnet-4 10.0.4.0/24
//	 subnet-1 10.0.3.0/24          |
//	lqilbweb 10.0.3.10 ---- [ router ] ---- subnet-2 10.0.1.0/24   lqi1ecmy01 10.0.1.4, lqi1ecmy02 10.0.1.5
//	                               |
//	                               +------- subnet-3 10.0.2.0/24   lqi1ecmy03 10.0.2.4, lqi1ecmy04 10.0.2.5
//
// A host is a set of namespaces (mount, pid, uts, ipc, network, cgroup) with a private /dev, /run and /tmp, an ext4 image
// for /etc, /var and /root, and the rest of the machine's root read-only. Its processes live in the cgroup
// holdfast-lab/LAB/HOST, which is what kill, freeze and down act on. The router is the network namespace of the lab's
// keeper, a process that also serves the data disks; every bridge and every link's other end is in it, so that nothing of
// a lab appears in the machine's own network. What a lab owns is on disk below Dir/LAB and frees itself when its processes
// die: Down works from the directory and the cgroup alone, also after the lab's own processes have been killed.
package lab

import "time"

// DefaultDir holds the directory of every lab of the machine.
const DefaultDir = "/var/lib/holdfast-lab"

// Limits of the lab's operations. They are bounds for a loaded machine, not expectations.
const (
	bootLimit        = 60 * time.Second      // from the first namespace to PID 1's `ready`
	keeperLimit      = 20 * time.Second      // until the keeper answers
	deathLimit       = 30 * time.Second      // until a killed host's last process has gone
	freezeLimit      = 2 * time.Second       // until a frozen host stands still
	shutdownLimit    = 240 * time.Second     // of an orderly shutdown, with the hand-over of all the host runs
	freezeBeforeKill = 50 * time.Millisecond // long enough for processes that can be stopped
	autoclearLimit   = time.Second           // until a loop device without users has freed itself
	detachLimit      = 10 * time.Second      // until a loop device is free
	removeLimit      = 5 * time.Second       // until an empty cgroup can be removed
	pollEvery        = 2 * time.Millisecond
)
