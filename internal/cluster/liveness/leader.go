package liveness

import (
	"maps"
	"slices"
	"time"

	"holdfast/internal/clock"
)

// Record is a lease as the log has it.
type Record struct {
	Session uint64
	Active  bool
}

// Leader is the account of everyone's leases that a Raft leader keeps for its term, its own lease included. A new term
// begins with a new Leader.
type Leader struct {
	term uint64
	// after is L and the margin: how long after the last grant the holder has surely stopped.
	after  time.Duration
	ready  clock.Boottime
	leases map[string]*account
}

type account struct {
	session  uint64
	granted  clock.Boottime // last grant of this term; 0 when none
	known    clock.Boottime // when the session was first seen in the log
	expiring bool
}

// NewLeader opens the accounts of a term. Ready is when the term's first entry was committed (raftlog.Status.LeaderReady):
// no grant of an earlier leader is younger than that, so counting begins there.
func NewLeader(term uint64, length, margin time.Duration, ready clock.Boottime) *Leader {
	return &Leader{term: term, after: length + margin, ready: ready, leases: make(map[string]*account)}
}

// Lead is the account to keep from now on, nil while this node does not lead, or leads but has not committed its term's
// first entry (ready 0): old as long as its term lasts, a new one in another. The other arguments are NewLeader's.
func Lead(old *Leader, leads bool, term uint64, length, margin time.Duration, ready clock.Boottime) *Leader {
	switch {
	case !leads || ready == 0:
		return nil
	case old != nil && old.term == term:
		return old
	}
	return NewLeader(term, length, margin, ready)
}

// Paused notes that the leader stood still and leads all the same, as the only voter does: counting begins anew. Its own guard, and
// whoever it did not hear, have yet to find out that their leases are over. A nil account has nothing to count.
func (l *Leader) Paused(now clock.Boottime) {
	if l != nil {
		l.ready = max(l.ready, now)
	}
}

// MayGrant tells whether renewals that waited for a read begun in term begun may be granted now, when leads and term say
// how this node stands. Only if it still leads in that term did it answer the read itself: another leader, which may have
// answered it, does not know what is granted here. A nil account grants nothing.
func (l *Leader) MayGrant(begun uint64, leads bool, term uint64) bool {
	return l != nil && l.term == begun && leads && term == begun
}

// Term is the Raft term the accounts are of.
func (l *Leader) Term() uint64 { return l.term }

// Observe takes in the leases on record, after every change of the log's state.
func (l *Leader) Observe(records map[string]Record, now clock.Boottime) {
	for node, a := range l.leases {
		if r := records[node]; !r.Active || r.Session != a.session {
			delete(l.leases, node)
		}
	}
	for node, r := range records {
		if r.Active && l.leases[node] == nil {
			l.leases[node] = &account{session: r.Session, known: now}
		}
	}
}

// Grant answers a renewal of node. The caller has made a linearizable read that began after the renewal arrived, and has
// passed the state it saw to Observe. Now is taken before the answer is sent. False: no grant, since the session is over
// or is just being expired.
func (l *Leader) Grant(node string, r Renewal, now clock.Boottime) bool {
	a := l.leases[node]
	if a == nil || a.session != r.Session || a.expiring {
		return false
	}
	a.granted = max(a.granted, now)
	return true
}

// Expiry is a lease that is over by the leader's count and is to be expired in the log.
type Expiry struct {
	Node    string
	Session uint64
	// Silent is how long ago the counting began: at the last grant, or at the term's first commit.
	Silent time.Duration
}

// Due returns the leases that are over, sorted by node, and when to ask next (0: when something changes). From here on
// they are granted no more, until Failed.
func (l *Leader) Due(now clock.Boottime) (expired []Expiry, next clock.Boottime) {
	for _, node := range slices.Sorted(maps.Keys(l.leases)) {
		a := l.leases[node]
		if a.expiring {
			continue
		}
		since := max(l.ready, a.granted, a.known)
		over := since.Add(l.after)
		if now >= over {
			a.expiring = true
			expired = append(expired, Expiry{Node: node, Session: a.session, Silent: now.Sub(since)})
		} else if next == 0 || over < next {
			next = over
		}
	}
	return expired, next
}

// Failed notes that a lease could not be expired: the log refused it. It is counted, and granted, as before. An unknown
// outcome is no failure: then the node must not be granted anything by this leader any more.
func (l *Leader) Failed(node string, session uint64) {
	if a := l.leases[node]; a != nil && a.session == session {
		a.expiring = false
	}
}

// Retry lists the leases being expired, sorted: what to propose again after an unknown outcome.
func (l *Leader) Retry() []Expiry {
	var out []Expiry
	for _, node := range slices.Sorted(maps.Keys(l.leases)) {
		if a := l.leases[node]; a.expiring {
			out = append(out, Expiry{Node: node, Session: a.session})
		}
	}
	return out
}

// LastGrant is when node was last granted its lease in this term; 0 when never.
func (l *Leader) LastGrant(node string) clock.Boottime {
	if a := l.leases[node]; a != nil {
		return a.granted
	}
	return 0
}
