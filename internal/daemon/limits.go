package daemon

import "time"

// Limits of the daemon's own waits; those of the planes are in their limits.go.
const (
	// volumeHelloTimeout bounds the first exchange with a volume process, and each write to it.
	volumeHelloTimeout = 2 * time.Second
	// volumeStartTimeout bounds the wait for a started volume process to listen.
	volumeStartTimeout = 5 * time.Second
	// volumeReplaceAgain is the pause after a failed attempt to replace a volume process; it goes on while the volume is up.
	volumeReplaceAgain = time.Second
	// childPoll is how often a wait for another process's socket looks again.
	childPoll = 20 * time.Millisecond
	// reconsiderEvery is the pause between two looks at volumes that are not in the log yet.
	reconsiderEvery = time.Second
	// watchKept is how many events of volumes are kept for those who watch, and watchPatience how long a watcher waits for
	// one before it is answered that there is none.
	watchKept     = 1024
	watchPatience = 20 * time.Second
	// proposeTimeout bounds a proposal to the log made for a local caller.
	proposeTimeout = 10 * time.Second
)

// The balancer process.
const (
	// balancerEvery is the longest time between two updates; a view must reach it well before it is too old.
	balancerEvery = 200 * time.Millisecond
	// balancerAnswer bounds the wait for its answer.
	balancerAnswer = time.Second
)
