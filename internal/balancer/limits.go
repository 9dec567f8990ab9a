// Package balancer is the process `holdfast balancer`: it serves the frontends of this host, learns from the daemon who is
// Primary and from probes who answers, and hands connections to a backend or holds them until there is one. Its parts:
// pool and probe decide, checker probes, proxy carries the bytes; this package binds them.
package balancer

import "time"

// The limits of the balancer's plane. Times of probes and holds are defaults a rule may change within the bounds.
const (
	// DefaultInterval, DefaultFall and DefaultRise are those of a probe that names none.
	DefaultInterval = time.Second
	DefaultFall     = 2
	DefaultRise     = 1
	// MinInterval and MaxInterval bound a rule's probe interval.
	MinInterval = 100 * time.Millisecond
	MaxInterval = 5 * time.Minute
	// FastInterval is the time between two probes of a backend that clients wait for, until it opens: the one that the
	// cluster has just made Primary above all. It is most of what a balancer adds to an outage.
	FastInterval = 50 * time.Millisecond
	// FastTimeout bounds one of those probes.
	FastTimeout = 500 * time.Millisecond
	// MaxFallRise bounds a rule's thresholds.
	MaxFallRise = 100

	// DefaultHold is how long a new connection waits for a backend to open, DefaultHoldMax how many may wait at a time.
	DefaultHold    = 30 * time.Second
	DefaultHoldMax = 512
	// MaxHold and MaxHoldMax bound what a rule may ask for.
	MaxHold    = 10 * time.Minute
	MaxHoldMax = 65536

	// DefaultIdle is after how long without traffic a connection is reset (Azure's default: 4 minutes).
	DefaultIdle = 240 * time.Second
	// MaxIdle bounds what a rule may ask for.
	MaxIdle = 24 * time.Hour

	// MaxConnections bounds the connections of one rule; further ones are reset.
	MaxConnections = 65536

	// DialTimeout bounds one attempt to connect to a backend that is open.
	DialTimeout = time.Second
	// RedialPause is the wait before the same backend is tried again within the hold.
	RedialPause = 50 * time.Millisecond

	// ListenRetry is the wait before a frontend that could not be opened is tried again.
	ListenRetry = time.Second
	// MaxRules bounds the rules of a host, MaxBackends the backends of a rule.
	MaxRules    = 256
	MaxBackends = 256

	// DaemonTimeout bounds the write of an answer to the daemon.
	DaemonTimeout = 5 * time.Second
	// DrainDefault is the deadline of a drain that names none.
	DrainDefault = 60 * time.Second
)
