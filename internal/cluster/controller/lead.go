package controller

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/state"
	"holdfast/internal/cluster/transition"
)

// message comes to the loop from outside. Exactly one of report, activity and outcome is set.
type message struct {
	report *executor.Report
	done   chan<- error // for report
	// activity answers what a node is doing.
	activity *executor.Activity
	// outcome ends an action that no executor reports on (leave, fence).
	outcome *outcome
}

type outcome struct {
	key string
	err error
}

// lead is one term of leading. All fields but inbox and ctx belong to the loop.
type lead struct {
	c     *Controller
	ctx   context.Context
	term  uint64
	inbox chan message
	wg    sync.WaitGroup

	view    *state.View
	outside outside
	// asking are the nodes that have not yet said what they are doing; nothing is scheduled before they have, or are lost.
	asking map[string]uint64 // session
	// flights are the actions under way, by key.
	flights map[string]*flight
	// seen are the last reports taken, by node: those of its session up to seq; and the keys of this term.
	seen  map[string]seen
	ended map[string]bool

	// walk is the transition being carried out, nil when none. stale: it, or the state it left, is out of date.
	walk  *walk
	stale bool
	// spins counts transitions since something changed from outside; notBefore is the earliest time of the next.
	spins     int
	notBefore time.Time
	recheck   time.Time
}

type seen struct{ session, seq uint64 }

// walk is a transition on its way.
type walk struct {
	graph  *transition.Graph
	walker *transition.Walker
	began  time.Time
	output *scheduler.Output
	// from is the CIB it was made from.
	from cib.Version
}

// flight is an action under way.
type flight struct {
	key     string
	action  *transition.Action // nil: begun by an earlier leader
	walk    *walk
	node    string
	session uint64
	until   time.Time
	began   time.Time
	cancel  context.CancelFunc
}

func newLead(c *Controller, ctx context.Context, term uint64) *lead {
	return &lead{c: c, ctx: ctx, term: term, inbox: make(chan message, cluster.MaxControllerInbox),
		asking: map[string]uint64{}, flights: map[string]*flight{}, seen: map[string]seen{}, ended: map[string]bool{}, stale: true}
}

// run is the loop. It returns when the member leads no more, or ctx is done.
func (l *lead) run() {
	l.askAll()
	for l.ctx.Err() == nil {
		changed := l.c.cfg.Log.Changed()
		if st := l.c.cfg.Log.Status(); !st.IsLeader || st.Term != l.term {
			return
		}
		l.advance()
		l.tellSettled()
		timer := time.NewTimer(l.wait())
		select {
		case <-l.ctx.Done():
		case <-changed:
		case <-timer.C:
			l.timeouts()
		case m := <-l.inbox:
			l.take(l.drain(m))
		}
		timer.Stop()
	}
}

// drain takes what else has come, so that it can be recorded together.
func (l *lead) drain(first message) []message {
	batch := []message{first}
	for len(batch) < cluster.MaxResultBatch {
		select {
		case m := <-l.inbox:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// send is for the helpers' goroutines; it gives up when the term is over.
func (l *lead) send(m message) {
	select {
	case l.inbox <- m:
	case <-l.ctx.Done():
	}
}

// askAll asks every node with a lease what it is doing.
func (l *lead) askAll() {
	view := l.c.cfg.Log.View()
	for _, node := range view.MemberNames() {
		lease := view.Leases[node]
		if view.Members[node].Kind != state.Data || lease.State != state.LeaseActive {
			continue
		}
		l.asking[node] = lease.Session
		l.wg.Go(func() { l.ask(node, lease.Session) })
	}
}

// askComplaint is how many vain questions make one line in the log.
const askComplaint = 5

// ask repeats until there is an answer, or the node's session is over.
func (l *lead) ask(node string, session uint64) {
	tries := 0
	for l.ctx.Err() == nil && l.c.cfg.Log.View().LeaseLive(node, session) {
		ctx, cancel := context.WithTimeout(l.ctx, cluster.DispatchTimeout)
		a, err := l.c.cfg.Nodes.Active(ctx, node, l.term)
		cancel()
		if err == nil {
			a.Node = node
			l.send(message{activity: &a})
			return
		}
		if tries++; tries%askComplaint == 0 {
			l.c.cfg.Logs.Warn("node does not say what it is doing; nothing is decided before it has, or is lost", "node", node, "tries", tries, "err", err)
		}
		pause(l.ctx, cluster.DispatchRetry)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// adopt notes what a node is doing for an earlier leader.
func (l *lead) adopt(a *executor.Activity) {
	session, asked := l.asking[a.Node]
	delete(l.asking, a.Node)
	if !asked || a.Session != session {
		return // a session ago
	}
	now := time.Now()
	for _, u := range a.Under {
		if l.ended[u.Key] || l.flights[u.Key] != nil {
			continue
		}
		timeout := u.Timeout
		if timeout <= 0 {
			timeout = cluster.DefaultOpTimeout
		}
		l.flights[u.Key] = &flight{key: u.Key, node: a.Node, session: session, began: now,
			until: now.Add(timeout + cluster.ActionGrace), cancel: func() {}}
		l.c.cfg.Logs.Info("waiting for an operation begun under an earlier leader", "node", a.Node, "resource", u.Resource, "action", u.Task)
	}
}

// look compares the log's state with what was known.
func (l *lead) look() {
	view := l.c.cfg.Log.View()
	if view == l.view || view.CIB == nil {
		return
	}
	l.view = view
	now := lookOutside(view)
	if now.changed(l.outside) {
		l.stale, l.spins, l.notBefore = true, 0, time.Time{}
	}
	l.outside = now
	for node, session := range l.asking {
		if !view.LeaseLive(node, session) {
			delete(l.asking, node)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.flights)) {
		if f := l.flights[key]; !view.LeaseLive(f.node, f.session) {
			l.land(f, f.leaving(), "the node is gone")
			l.stale = true
		}
	}
}

// leaving tells whether the end of the node's session is what the action was for.
func (f *flight) leaving() bool {
	return f.action != nil && (f.action.Task == transition.TaskShutdown || f.action.Task == transition.TaskStonith)
}

// land ends a flight.
func (l *lead) land(f *flight, ok bool, why string) {
	f.cancel()
	delete(l.flights, f.key)
	l.noteEnd(f.key)
	if f.action == nil {
		return
	}
	attrs := l.describe(f.action)
	attrs["ok"], attrs["seconds"] = ok, time.Since(f.began).Seconds()
	if why != "" {
		attrs["why"] = why
	}
	l.c.cfg.Event("action.end", attrs)
	f.walk.walker.Done(f.action.ID, ok)
}

// noteEnd remembers an operation that has ended, as long as a node may still tell, from a moment ago, that it runs.
func (l *lead) noteEnd(key string) {
	if len(l.asking) == 0 {
		clear(l.ended)
		return
	}
	l.ended[key] = true
}

func (l *lead) describe(a *transition.Action) map[string]any {
	return map[string]any{"peer": a.Node, "resource": a.Resource, "action": a.Task,
		"interval_ms": a.Interval.Milliseconds(), "action_id": a.ID}
}

// advance goes on as far as possible: starts what may start, ends a transition, makes the next.
func (l *lead) advance() {
	for {
		if l.look(); l.view == nil {
			return
		}
		if l.walk != nil && !l.stale {
			l.startReady()
		}
		if len(l.flights) > 0 || len(l.asking) > 0 {
			return
		}
		if l.walk != nil {
			if !l.stale && !l.walk.walker.Complete() {
				return // something failed to start that will be tried again
			}
			l.endTransition()
		}
		if !l.stale || time.Now().Before(l.notBefore) {
			return
		}
		if !l.forgetPending() {
			l.notBefore = time.Now().Add(cluster.DispatchRetry)
			return
		}
		l.schedule()
		if l.walk == nil {
			return
		}
	}
}

// tellSettled publishes whether everything is as it should be.
func (l *lead) tellSettled() {
	index := uint64(0)
	if l.view != nil && l.walk == nil && !l.stale && len(l.flights) == 0 && len(l.asking) == 0 {
		index = l.view.Index
	}
	l.c.settled.Store(index)
}

// endTransition puts a finished or aborted transition away. One that ran is followed by another decision: the state it
// led to is to be looked at, and should be the wanted one.
func (l *lead) endTransition() {
	w := l.walk
	l.c.cfg.Event("transition.end", map[string]any{"transition": w.graph.ID, "seconds": time.Since(w.began).Seconds(),
		"aborted": !w.walker.Complete(), "failed": len(w.walker.Failed())})
	// A whole transition that has left no trace (nothing but notifications for something that is blocked) would be
	// decided on again and again; the next waits for a change.
	idle := !l.stale && w.walker.Complete() && len(w.walker.Failed()) == 0 && l.view.CIB.Version() == w.from
	l.walk, l.stale = nil, !idle
	l.spins++
	if l.spins > cluster.MaxSpins {
		l.notBefore = time.Now().Add(cluster.SpinPause)
		l.c.cfg.Logs.Warn("one transition after another without a change from outside; waiting before the next", "transition", w.graph.ID)
	}
}

// schedule decides anew.
func (l *lead) schedule() {
	c := l.c
	in := Input(l.view, c.cfg.Clock.Wall(), true, c.cfg.Node, c.cfg.Why)
	in.TransitionID = c.nextID
	made := scheduler.Schedule(in)
	out := &made
	l.stale = false
	l.recheck = l.nextRecheck(out)
	c.decided(&Decision{At: in.Now, TransitionID: c.nextID, Actions: len(out.Graph.Actions), Output: out})
	for _, w := range out.Warnings {
		c.cfg.Logs.Warn("scheduler", "warning", w)
	}
	if out.Graph.Empty() {
		return
	}
	c.nextID++
	l.walk = &walk{graph: out.Graph, walker: transition.NewWalker(out.Graph, out.Graph.BatchLimit), began: time.Now(), output: out, from: l.view.CIB.Version()}
	var changes []string
	for _, s := range out.Summary {
		changes = append(changes, s.Text)
	}
	c.cfg.Event("transition.start", map[string]any{"transition": out.Graph.ID, "actions": len(out.Graph.Actions), "changes": changes})
}

// nextRecheck is when to decide again because of time alone.
func (l *lead) nextRecheck(out *scheduler.Output) time.Time {
	every := cluster.DefaultRecheck
	if d, err := cib.ParseInterval(l.view.CIB.Property("cluster-recheck-interval")); err == nil && d > 0 {
		every = d
	}
	wall := l.c.cfg.Clock.Wall()
	if !out.Recheck.IsZero() && out.Recheck.Before(wall.Add(every)) {
		every = max(0, out.Recheck.Sub(wall))
	}
	return time.Now().Add(every)
}

// wait is how long nothing happens by itself.
func (l *lead) wait() time.Duration {
	next := l.recheck
	if next.IsZero() {
		next = time.Now().Add(cluster.DefaultRecheck)
	}
	if l.stale && !l.notBefore.IsZero() && l.notBefore.Before(next) {
		next = l.notBefore
	}
	for _, f := range l.flights {
		if f.until.Before(next) {
			next = f.until
		}
	}
	return max(time.Millisecond, time.Until(next))
}

// timeouts looks at what should have happened by now.
func (l *lead) timeouts() {
	now := time.Now()
	if !l.recheck.IsZero() && !now.Before(l.recheck) {
		l.stale, l.recheck = true, time.Time{}
	}
	for _, key := range slices.Sorted(maps.Keys(l.flights)) {
		f := l.flights[key]
		if now.Before(f.until) {
			continue
		}
		l.c.cfg.Logs.Error("an action has not been answered in time; scheduling anew", "node", f.node, "key", f.key)
		l.land(f, false, "not answered in time")
		l.stale = true
	}
}

// key is a transition key: ACTION:TRANSITION:TARGET-RC:ORIGIN.
func (l *lead) key(w *walk, a *transition.Action) string {
	return strconv.Itoa(a.ID) + ":" + strconv.Itoa(w.graph.ID) + ":" + strconv.Itoa(a.TargetRC) + ":" + l.c.origin
}
