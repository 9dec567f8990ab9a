package guard

import "time"

// Limits of the guard. Those of enforcement are in package deadline.
const (
	// maxHeld bounds the descriptors held, one for each volume of a host.
	maxHeld = 256
	// maxClients bounds the connections to the socket.
	maxClients = 256
	// clientTimeout bounds one request of a client, from asking to the answer.
	clientTimeout = 5 * time.Second
	// keeperLook is how often a process that has left something with the guard looks whether it is still there.
	keeperLook = 200 * time.Millisecond
	// armedNap and idleNap bound the sleep of the watching thread: a clock that jumps is noticed, and a watchdog fed.
	armedNap = 250 * time.Millisecond
	idleNap  = time.Second
	// maxQueuedLogs bounds the log lines that wait for a log that does not take them; more are dropped.
	maxQueuedLogs = 256
	// watchdogTimeout is asked of the watchdog device in seconds; it is fed at least every idleNap.
	watchdogTimeout = 10
	// watchdogFinal is asked of it once the host has to be reset, the least it knows.
	watchdogFinal = 1
)
