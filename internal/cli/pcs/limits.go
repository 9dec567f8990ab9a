package pcs

import "time"

const (
	// maxVerbWords is the length of the longest verb, in words.
	maxVerbWords = 4
	// editTries bounds how often an edit of the live CIB is repeated because someone else changed it meanwhile.
	editTries = 5
	// waitDefault is how long --wait waits when it is given no number (pcs: 60 minutes).
	waitDefault = 60 * time.Minute
	// moveTimeout bounds how long `resource move` and `resource delete` wait for the cluster.
	moveTimeout = 60 * time.Second
	// pollInterval is the time between two looks at the cluster while waiting.
	pollInterval = 200 * time.Millisecond
	// answerTimeout bounds a call that only reads; others last as long as what they do.
	answerTimeout = 10 * time.Second
	// actTimeout bounds a call that starts or stops nodes: a hand-over stops a database.
	actTimeout = 10 * time.Minute
	// monitorEvery is crm_mon's default interval between two looks.
	monitorEvery = 5 * time.Second
	// maxFile bounds a CIB read from a file, in bytes.
	maxFile = 64 << 20
)
