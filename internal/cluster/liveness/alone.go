package liveness

import (
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/planted"
)

// Alone is the account of one of two voters that may have to go on without the other (DESIGN, opt-in): when it has been so long
// without its peer that the peer can hold no lease any more which this host has helped it to.
//
// A lease of the peer rests on this host's word, since a majority of two is both: on a grant it gave as the leader, or on an
// acknowledgement it sent to the peer as the leader. The renewal was stamped before either, so that the lease is over L after
// the last of them. What was sent before the account was opened counts as sent then.
type Alone struct {
	opened       clock.Boottime
	acknowledged clock.Boottime // when anything was last sent that may serve the peer as this host's word
	confirmed    bool           // both were together since the account was opened, and since this host stood still last
	until        clock.Boottime // of this host's own lease
}

// NewAlone opens the account, when the daemon joins the cluster.
func NewAlone(now clock.Boottime) *Alone { return &Alone{opened: now} }

// Acknowledged notes that something is sent at now, or later, which may serve the peer as this host's word.
func (a *Alone) Acknowledged(now clock.Boottime) { a.acknowledged = max(a.acknowledged, now) }

// Granted notes this host's own deadline: it has its lease with the peer's help, so that both were together. A grant that is
// over already proves nothing.
func (a *Alone) Granted(now, deadline clock.Boottime) {
	a.until = max(a.until, deadline)
	a.confirmed = a.confirmed || now < deadline
}

// Paused notes that this host stood still: its peer may have gone on without it. Until the two are together again, this one does
// not go on alone. (Corosync's wait_for_all, which two_node implies, demands the same of a node that has just started.)
func (a *Alone) Paused() { a.confirmed = false }

// Due tells whether it is time: the two were together, the peer has been silent for token, this host's lease is over, and so
// is every lease of the peer that it has helped to, by length and margin. heard is when the peer was last heard, 0 for never.
func (a *Alone) Due(now, heard clock.Boottime, token, length, margin time.Duration) bool {
	if !a.confirmed || now.Sub(heard) < token {
		return false
	}
	if planted.ForkBeforeLease {
		return true
	}
	return now >= a.until && now >= max(a.opened, a.acknowledged).Add(length+margin)
}

// Together tells whether the two were together since this host began, or stood still last.
func (a *Alone) Together() bool { return a.confirmed }
