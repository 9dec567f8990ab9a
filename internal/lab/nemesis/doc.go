// Package nemesis breaks the tutorial's system in a lab, fault after fault in an order drawn from a seed, while clients use
// the database and the volume, and judges after each: every acknowledged row is there, no two databases have served at
// once, the replicas are equal, nothing is left over; at the end, that the recorded histories of rows and of blocks are
// linearizable.
//
// The schedule is a function of the seed alone. Faults name hosts by their part (active, standby, witness), so that a seed
// strikes at the same places whichever host has which part at the time. No fault destroys the last good copy: a disk is
// only replaced on the standby, alone, when both replicas are up to date.
package nemesis

import "time"

// Bounds of waits; each is for a state.
const (
	tutorialLimit = 10 * time.Minute
	// wholeLimit bounds the recovery after a step's faults have ended, on a loaded machine.
	wholeLimit = 5 * time.Minute
	// cleanupAfter is when the operator looks after failed resources, if the cluster is not whole by itself.
	cleanupAfter = 45 * time.Second
	serveLimit   = 2 * time.Minute
	commandLimit = 4 * time.Minute // one line typed on a host
	askLimit     = 2 * time.Second
	equalFor     = 15 * time.Second // how long blocks must differ, at least, before the replicas are said to
	checkLimit   = 2 * time.Minute  // of one linearizability check
	lookEvery    = 100 * time.Millisecond
	logsLimit    = 2 * time.Minute
)
