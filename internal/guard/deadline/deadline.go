// Package deadline is the guard's judgement: whether a lease may be extended, when it has ended, and whether what
// follows has been done. It is told the time and what was found, and says what to do; the guard's shell does it.
package deadline

import (
	"fmt"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/planted"
)

// State is where a node stands towards its lease; the words are api.GuardReply's.
type State string

// The states. Disarmed: no lease, nothing to enforce. Armed: everything may run until the deadline. Enforcing: the
// deadline has passed and processes remain. Enforced: nothing runs, and nothing may until a newer session. Failed:
// processes remain although everything was tried; sweeping goes on.
const (
	Disarmed  State = "disarmed"
	Armed     State = "armed"
	Enforcing State = "enforcing"
	Enforced  State = "enforced"
	Failed    State = "failed"
)

// Limits of enforcement.
const (
	// SweepEvery is the pause between two sweeps while processes remain.
	SweepEvery = 5 * time.Millisecond
	// FailedSweepEvery is the same once everything has been tried.
	FailedSweepEvery = time.Second
	// DefaultResetAfter is how long after the deadline remaining processes are given up on: the host is reset, if that has
	// been opted into, else the state is Failed. A killed process runs no more code; what takes time is its exit.
	DefaultResetAfter = time.Second
)

// Next is what a sweep leads to.
type Next int

// What to do after a sweep: Again sweeps once more at Wake, Done means nothing remains, Reset means to reset the host now.
const (
	Again Next = iota
	Done
	Reset
)

// Machine is the judgement's memory. The zero value is not ready; use New.
type Machine struct {
	state      State
	deadline   clock.Boottime
	session    uint64 // of the deadline; in Enforced and later, the session that was enforced
	floor      uint64 // sessions below are refused
	resetAfter time.Duration
	sweepAt    clock.Boottime
	survivors  []int
	resetAsked bool
}

// New starts from what an earlier guard of this boot left in the lease page: deadline 0 is Disarmed, any other Armed, so that
// one which has passed is enforced at once. resetAfter 0 means DefaultResetAfter.
func New(deadline clock.Boottime, session uint64, resetAfter time.Duration) *Machine {
	m := &Machine{state: Disarmed, deadline: deadline, session: session, floor: session, resetAfter: resetAfter}
	if resetAfter == 0 {
		m.resetAfter = DefaultResetAfter
	}
	if deadline != 0 {
		m.state = Armed
	}
	return m
}

// State is the present state.
func (m *Machine) State() State { return m.state }

// Page is what the lease page has to say. A deadline that has passed stays there until a new lease or Disarm.
func (m *Machine) Page() (deadline clock.Boottime, session uint64) { return m.deadline, m.session }

// Floor is the oldest session that may begin now; 0 when any may.
func (m *Machine) Floor() uint64 {
	if m.state == Enforced {
		return max(m.floor, m.session+1)
	}
	return m.floor
}

// Survivors are the processes the last sweep found, sorted as it gave them.
func (m *Machine) Survivors() []int { return m.survivors }

// MayHold tells whether a descriptor may be left with the guard: not while or after a lease is enforced.
func (m *Machine) MayHold() bool { return m.state == Disarmed || m.state == Armed }

// Tick moves time on. After it, State is Enforcing if the deadline has passed.
func (m *Machine) Tick(now clock.Boottime) {
	if m.state == Armed && now >= m.deadline && !planted.GuardIgnoresLease {
		m.state, m.sweepAt, m.resetAsked = Enforcing, now, false
	}
}

// Lease extends the deadline, or arms with the first one. An earlier deadline of the same session changes nothing; a late
// one, or one of a session that is over, is refused.
func (m *Machine) Lease(now clock.Boottime, session uint64, deadline clock.Boottime) error {
	m.Tick(now)
	switch {
	case m.state != Disarmed && m.state != Armed:
		return fmt.Errorf("session %d has ended (%s); a newer session is needed", m.session, m.state)
	case session < m.floor:
		return fmt.Errorf("session %d is over; %d is the oldest that may hold a lease", session, m.floor)
	case deadline <= now:
		return fmt.Errorf("the lease of session %d had ended %v before it arrived", session, now.Sub(deadline))
	}
	if m.state == Armed && deadline < m.deadline {
		deadline = m.deadline
	}
	m.state, m.deadline, m.session, m.floor = Armed, deadline, session, session
	return nil
}

// Disarm ends the watch: the node holds nothing and leaves the cluster, whose sessions are forgotten with it.
func (m *Machine) Disarm(now clock.Boottime) error {
	m.Tick(now)
	if m.state == Enforcing || m.state == Failed {
		return fmt.Errorf("the lease of session %d has ended and processes remain (%s); they must end first", m.session, m.state)
	}
	*m = Machine{state: Disarmed, resetAfter: m.resetAfter}
	return nil
}

// Clear lets a newer session begin after an enforced one. It is no error if that session, or one after it, has begun.
func (m *Machine) Clear(now clock.Boottime, session uint64) error {
	m.Tick(now)
	switch m.state {
	case Enforcing, Failed:
		return fmt.Errorf("the lease of session %d has ended and processes remain (%s)", m.session, m.state)
	case Enforced:
		if session <= m.session {
			return fmt.Errorf("session %d was enforced; session %d is not newer", m.session, session)
		}
		m.state, m.floor = Disarmed, session
	default:
		m.floor = max(m.floor, session)
	}
	return nil
}

// SweepDue tells whether to kill and look for survivors now.
func (m *Machine) SweepDue(now clock.Boottime) bool {
	return (m.state == Enforcing || m.state == Failed) && now >= m.sweepAt
}

// Swept takes a sweep's result: the processes left, and whether they could be listed at all.
func (m *Machine) Swept(now clock.Boottime, survivors []int, known bool) Next {
	m.survivors = survivors
	if known && len(survivors) == 0 {
		m.state = Enforced
		return Done
	}
	if m.state == Enforcing && now >= m.deadline.Add(m.resetAfter) {
		m.state = Failed
	}
	if m.state == Failed {
		m.sweepAt = now.Add(FailedSweepEvery)
		if !m.resetAsked {
			m.resetAsked = true
			return Reset
		}
		return Again
	}
	m.sweepAt = now.Add(SweepEvery)
	return Again
}

// Wake is when Tick or a sweep is due next; 0 if nothing is.
func (m *Machine) Wake() clock.Boottime {
	switch m.state {
	case Armed:
		return m.deadline
	case Enforcing, Failed:
		return m.sweepAt
	}
	return 0
}
