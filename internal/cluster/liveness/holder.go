// Package liveness keeps the accounts of who is alive: the lease as its holder counts it and as the leader does (DESIGN
// S6), and which members are heard on which links.
package liveness

import (
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
)

// Renewal is a request for the lease, as it travels.
type Renewal struct {
	Session uint64 `json:"session"`
	// ID tells renewals of a session apart.
	ID uint64 `json:"id"`
}

// Holder is the account of this node's own lease. The zero value holds none; Length must be set before Begin.
type Holder struct {
	// Length is L.
	Length time.Duration

	session  uint64
	nextID   uint64
	nextAt   clock.Boottime
	inflight []stamped
	deadline clock.Boottime
}

type stamped struct {
	id uint64
	at clock.Boottime
}

// Begin starts a session that the log has begun (LeaseStart). Renewals of an earlier one no longer count.
func (h *Holder) Begin(session uint64) {
	h.session, h.inflight, h.deadline, h.nextAt = session, nil, 0, 0
}

// End gives the lease up: after the log has ended or expired the session.
func (h *Holder) End() { h.Begin(0) }

// Session is the session being held, 0 when none.
func (h *Holder) Session() uint64 { return h.session }

// Renew stamps a renewal with now and returns it, if one is due; else it says when. The stamp is taken before anything
// is sent, so that the lease can only end earlier here than where it was granted.
func (h *Holder) Renew(now clock.Boottime) (r Renewal, due bool, next clock.Boottime) {
	if h.session == 0 {
		return Renewal{}, false, now.Add(cluster.Heartbeat)
	}
	if now < h.nextAt {
		return Renewal{}, false, h.nextAt
	}
	h.nextID++
	h.nextAt = now.Add(cluster.Heartbeat)
	h.inflight = append(h.inflight, stamped{h.nextID, now})
	if len(h.inflight) > cluster.MaxRenewalsInFlight {
		h.inflight = h.inflight[1:]
	}
	return Renewal{Session: h.session, ID: h.nextID}, true, h.nextAt
}

// Granted takes in the leader's grant of a renewal and returns the deadline: the stamp of that renewal plus L. It never
// moves back. A grant of another session, or of a renewal no longer remembered, changes nothing.
func (h *Holder) Granted(r Renewal) (deadline clock.Boottime, moved bool) {
	if r.Session != h.session || h.session == 0 {
		return h.deadline, false
	}
	for i, s := range h.inflight {
		if s.id != r.ID {
			continue
		}
		h.inflight = h.inflight[i+1:]
		if d := s.at.Add(h.Length); d > h.deadline {
			h.deadline = d
			return d, true
		}
		break
	}
	return h.deadline, false
}

// Deadline is the CLOCK_BOOTTIME reading after which this node must run nothing; 0 before the first grant.
func (h *Holder) Deadline() clock.Boottime { return h.deadline }

// Live tells whether the lease holds at now.
func (h *Holder) Live(now clock.Boottime) bool { return h.session != 0 && now < h.deadline }
