// Package pool decides, for one rule of the balancer, which backends are open, why the others are not, and which open
// one a connection goes to. It is a core: pure functions of its arguments.
package pool

import (
	"slices"

	"holdfast/internal/planted"
)

// Health is what the probe says of a backend.
type Health int

// The healths. Unknown is a backend that has not been probed yet.
const (
	Unknown Health = iota
	Up
	Down
)

// Admin is what an operator says of a backend.
type Admin int

// The admin states. A draining backend gets no new connection and keeps those it has until its deadline.
const (
	AdminUp Admin = iota
	AdminDown
	AdminDrain
)

// Backend is a server of the pool, with all that is known of it.
type Backend struct {
	Node, Addr string
	Health     Health
	// Fault says what the probe found, when it failed.
	Fault string
	Admin Admin
	// DrainUntil is the CLOCK_BOOTTIME nanoseconds at which a drain ends; 0: no end.
	DrainUntil int64
	// Backup: used only while no other backend is open.
	Backup bool
}

// View is the cluster's state as far as the rule depends on it. Times are CLOCK_BOOTTIME nanoseconds.
type View struct {
	Now int64
	// Follow: the rule follows a volume; only its Primary may be open, and only until ConfirmedUntil.
	Follow         bool
	Primary        string
	ConfirmedUntil int64
	// Lost are nodes whose lease has expired.
	Lost []string
}

// Verdict is the state of one backend.
type Verdict struct {
	// Open: new connections may go there.
	Open bool
	// Keep: connections that are there may stay.
	Keep bool
	// Reason says why it is not open; empty when it is.
	Reason string
}

// The reasons that do not depend on a probe's text.
const (
	ReasonAdminDown   = "taken down by an operator"
	ReasonDraining    = "draining"
	ReasonDrained     = "drained: its deadline has passed"
	ReasonLost        = "node lost: its lease has expired"
	ReasonStale       = "the view of the cluster is too old"
	ReasonNotPrimary  = "not Primary"
	ReasonNoPrimary   = "the volume has no Primary"
	ReasonNotProbed   = "not probed yet"
	ReasonProbeFailed = "probe failed"
	ReasonBackup      = "backup, not needed now"
)

// Evaluate gives the state of each backend, in the order given.
func Evaluate(backends []Backend, v View) []Verdict {
	out := make([]Verdict, len(backends))
	primaries := false
	for i, b := range backends {
		out[i] = judge(b, v)
		primaries = primaries || out[i].Open && !b.Backup
	}
	for i, b := range backends {
		if b.Backup && out[i].Open && primaries {
			out[i] = Verdict{Keep: true, Reason: ReasonBackup}
		}
	}
	return out
}

// judge looks at one backend by itself: cluster state first, since a probe knows nothing of roles, then the operator,
// then the probe.
func judge(b Backend, v View) Verdict {
	switch {
	case b.Node != "" && slices.Contains(v.Lost, b.Node):
		return Verdict{Reason: ReasonLost}
	case v.Follow && v.Now >= v.ConfirmedUntil && !planted.BalancerStale:
		return Verdict{Reason: ReasonStale}
	case v.Follow && v.Primary == "":
		return Verdict{Reason: ReasonNoPrimary}
	case v.Follow && b.Node != v.Primary:
		return Verdict{Reason: ReasonNotPrimary}
	case b.Admin == AdminDown:
		return Verdict{Reason: ReasonAdminDown}
	case b.Admin == AdminDrain && b.DrainUntil != 0 && v.Now >= b.DrainUntil:
		return Verdict{Reason: ReasonDrained}
	case b.Health == Down:
		return Verdict{Reason: withFault(b.Fault)}
	case b.Admin == AdminDrain:
		return Verdict{Keep: true, Reason: ReasonDraining}
	case b.Health == Unknown:
		return Verdict{Keep: true, Reason: ReasonNotProbed}
	}
	return Verdict{Open: true, Keep: true}
}

func withFault(fault string) string {
	if fault == "" {
		return ReasonProbeFailed
	}
	return ReasonProbeFailed + ": " + fault
}

// NextChange is the earliest instant after v.Now at which Evaluate may answer otherwise by time alone; 0 when there is none.
func NextChange(backends []Backend, v View) int64 {
	next := int64(0)
	consider := func(t int64) {
		if t > v.Now && (next == 0 || t < next) {
			next = t
		}
	}
	if v.Follow {
		consider(v.ConfirmedUntil)
	}
	for _, b := range backends {
		if b.Admin == AdminDrain {
			consider(b.DrainUntil)
		}
	}
	return next
}
