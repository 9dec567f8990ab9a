package drbd

import "time"

const (
	// askTimeout bounds one question to the daemon. Starting a volume process, attaching and promoting through the log
	// are within it.
	askTimeout = 60 * time.Second
	// pollEvery is the pause between two looks at a state that is waited for.
	pollEvery = 200 * time.Millisecond
)
