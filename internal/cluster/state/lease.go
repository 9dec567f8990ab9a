package state

// LeaseStart begins a new session for a node: it may run things from now on. The node asks after its guard has reported
// that nothing of an earlier session is left; the session before must be over in the log.
type LeaseStart struct {
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	// Session is the number asked for: one more than the node's last.
	Session uint64 `json:"session"`
}

func (c *LeaseStart) verb() string { return "lease.start" }

func (c *LeaseStart) apply(t *tx) (Result, error) {
	m, err := t.member(c.Node)
	if err != nil {
		return Result{}, err
	}
	if c.Incarnation != m.Incarnation {
		return refuse("%s asks with incarnation %x, but the member is %x; it must be taken in again first", c.Node, c.Incarnation, m.Incarnation)
	}
	old := t.Leases[c.Node]
	if old.State == LeaseActive {
		return Result{Session: old.Session}, refusal("%s still has session %d; it is to end it (lease.end) or wait until it has expired", c.Node, old.Session)
	}
	if c.Session != old.Session+1 {
		return Result{Session: old.Session}, refusal("session %d asked for, the next one of %s is %d", c.Session, c.Node, old.Session+1)
	}
	t.setLease(c.Node, Lease{Session: c.Session, State: LeaseActive, Incarnation: c.Incarnation})
	return Result{Session: c.Session}, t.cibJoined(m)
}

// Next is the number of the session that a node begins next, when its guard allows none below floor. skip tells that numbers
// must be left out for it (LeaseSkip): the guard has seen them in another branch of the log.
func (l Lease) Next(floor uint64) (session uint64, skip bool) {
	if floor > l.Session+1 {
		return floor, true
	}
	return l.Session + 1, false
}

// LeaseSkip counts a node's sessions on to Session without beginning one: another branch of the log has given them to it, and
// its guard refuses what it has seen.
type LeaseSkip struct {
	Node        string `json:"node"`
	Incarnation uint64 `json:"incarnation"`
	Session     uint64 `json:"session"`
}

func (c *LeaseSkip) verb() string { return "lease.skip" }

func (c *LeaseSkip) apply(t *tx) (Result, error) {
	m, err := t.member(c.Node)
	if err != nil {
		return Result{}, err
	}
	if c.Incarnation != m.Incarnation {
		return refuse("%s asks with incarnation %x, but the member is %x; it must be taken in again first", c.Node, c.Incarnation, m.Incarnation)
	}
	l := t.Leases[c.Node]
	if l.State == LeaseActive {
		return Result{Session: l.Session}, refusal("%s still has session %d; it is to end it (lease.end) or wait until it has expired", c.Node, l.Session)
	}
	if c.Session <= l.Session {
		return Result{Session: l.Session}, refusal("%s has had session %d already, and cannot skip to %d", c.Node, l.Session, c.Session)
	}
	l.Session = c.Session
	if l.State == "" {
		l.State = LeaseEnded
	}
	t.setLease(c.Node, l)
	return Result{Session: l.Session}, nil
}

// LeaseExpire declares a node fenced: the leader has counted L and the margin since its last grant, or a fence agent has
// confirmed. Only a leader may say so, for its own term: a proposal that was forwarded to, or sent again under, a later
// leader is refused, since that one may have granted the lease meanwhile.
type LeaseExpire struct {
	Node    string `json:"node"`
	Session uint64 `json:"session"`
	// Term is the Raft term of the leader that counted; it must be the term of the log entry.
	Term uint64 `json:"term"`
	// Reason is for people: "no renewal granted for 2.0 s", "fenced by fence_azure_arm".
	Reason string `json:"reason,omitempty"`
}

func (c *LeaseExpire) verb() string { return "lease.expire" }

func (c *LeaseExpire) apply(t *tx) (Result, error) {
	if c.Term != t.term {
		return refuse("the leader of term %d counted, but the entry is of term %d, whose leader may have granted the lease since", c.Term, t.term)
	}
	return t.endSession(c.Node, c.Session, LeaseExpired)
}

// LeaseEnd is the node's own report that nothing of its session is left: a clean leave after everything was stopped, or
// a boot that found an old session in the log. A volume whose Primary it still was in that session ended uncleanly.
type LeaseEnd struct {
	Node    string `json:"node"`
	Session uint64 `json:"session"`
}

func (c *LeaseEnd) verb() string { return "lease.end" }

func (c *LeaseEnd) apply(t *tx) (Result, error) {
	return t.endSession(c.Node, c.Session, LeaseEnded)
}

// endSession closes a session: nothing of it runs any more, so no volume has it as Primary.
func (t *tx) endSession(node string, session uint64, state LeaseState) (Result, error) {
	m, err := t.member(node)
	if err != nil {
		return Result{}, err
	}
	l := t.Leases[node]
	if l.Session != session || session == 0 {
		return Result{Session: l.Session}, refusal("%s has session %d, not %d", node, l.Session, session)
	}
	if l.State != LeaseActive {
		return Result{Session: session}, refusal("session %d of %s is over already (%s)", session, node, l.State)
	}
	l.State = state
	t.setLease(node, l)
	for _, name := range t.VolumeNames() {
		v := t.Volumes[name]
		if v.Primary == node && v.PrimarySession == session {
			v.Primary, v.PrimarySession, v.Unclean = "", 0, true
			t.setVolume(v)
		}
	}
	return Result{Session: session}, t.cibLost(m)
}
