package executor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/paths"
)

// Config is what an executor works with. Event may be nil.
type Config struct {
	Root   paths.Root
	Node   string
	Clock  clock.Source
	Agents Agents
	Sink   Sink
	Log    *slog.Logger
	// Lease tells whether this node may run anything at this moment: an error once the lease's deadline has passed, whatever
	// else has noticed that by then (a host that was frozen wakes with its queues full). nil means always.
	Lease func() error
	// Event records what happens on the timeline: op.start, op.end, process.died.
	Event func(name string, attrs map[string]any)
}

// Executor runs the operations of one node. It starts paused, until Resume.
type Executor struct {
	cfg    Config
	path   string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	watch  *watcher
	outbox chan struct{} // there may be something to deliver

	mu      sync.Mutex
	table   *table
	lanes   map[string]*lane
	paused  bool
	changed chan struct{} // closed and replaced when an operation has ended
}

// Open reads the table of the daemon before this one, if that ran since boot.
func Open(cfg Config) (*Executor, error) {
	path := filepath.Join(cfg.Root.Run(), "executor.json")
	t, err := loadTable(path)
	if err != nil {
		return nil, err
	}
	// The table may be older than the last report: a number told before would be taken for that report.
	t.Seq += cluster.ReportGap
	if cfg.Event == nil {
		cfg.Event = func(string, map[string]any) {}
	}
	if cfg.Lease == nil {
		cfg.Lease = func() error { return nil }
	}
	e := &Executor{cfg: cfg, path: path, table: t, lanes: map[string]*lane{}, paused: true,
		outbox: make(chan struct{}, 1), changed: make(chan struct{})}
	if e.watch, err = newWatcher(e.died); err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.wg.Go(e.deliver)
	return e, nil
}

// Session is the lease session the table belongs to, 0 when there is none: what an earlier daemon of this boot ran in.
func (e *Executor) Session() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.Session
}

// Resume lets operations run, in a lease session. In the session of the table everything is carried on with, including
// operations that were under way when the last daemon died; a new session begins with nothing.
func (e *Executor) Resume(session uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if session != e.table.Session {
		e.reset(session)
	} else if e.paused {
		e.carryOn()
	}
	e.paused = false
	for _, l := range e.lanes {
		l.poke()
	}
	e.poke()
}

// reset forgets everything but the counters.
func (e *Executor) reset(session uint64) {
	e.table = &table{Format: tableFormat, Session: session, Term: e.table.Term, CallID: e.table.CallID, Seq: e.table.Seq}
	for _, l := range e.lanes {
		l.queue, l.repeats = nil, nil
	}
	e.save()
}

// carryOn fills the lanes from the table.
func (e *Executor) carryOn() {
	now := time.Now()
	for _, j := range e.table.Jobs {
		if l := e.lane(j.Request.Op.Resource); !slices.Contains(l.queue, j) && l.running != j {
			j.queued = now
			l.queue = append(l.queue, j)
		}
	}
	for _, j := range e.table.Recurring {
		if l := e.lane(j.Request.Op.Resource); !slices.Contains(l.repeats, j) {
			j.due = now
			l.repeats = append(l.repeats, j)
		}
	}
	for _, a := range e.table.Active {
		e.watch.follow(e.cfg.Root, a.Request.Op)
	}
}

// Submit takes a request; its result goes to the Sink. A request received before is not carried out again: its result
// is delivered again if it has ended. The errors are ErrStaleTerm, ErrPaused and ErrBusy, wrapped.
func (e *Executor) Submit(req Request) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.admit(req); err != nil {
		return fmt.Errorf("%s of %s on %s: %w", req.Op.Action, req.Op.Resource, e.cfg.Node, err)
	}
	if e.under(req.Key) {
		return nil
	}
	if r, ok := e.table.finishedReport(req.Key); ok {
		e.post(r)
		return nil
	}
	l := e.lane(req.Op.Resource)
	if len(l.queue) >= cluster.MaxQueuedOps {
		return fmt.Errorf("%s of %s on %s: %w", req.Op.Action, req.Op.Resource, e.cfg.Node, ErrBusy)
	}
	e.table.CallID++
	now := time.Now()
	j := &job{Request: req, CallID: e.table.CallID, queued: now, due: now.Add(req.StartDelay)}
	e.table.Jobs = append(e.table.Jobs, j)
	l.queue = append(l.queue, j)
	l.interrupt(req)
	e.save()
	l.poke()
	return nil
}

func (e *Executor) admit(req Request) error {
	if req.Term < e.table.Term {
		return fmt.Errorf("%w (term %d, this node has heard of %d)", ErrStaleTerm, req.Term, e.table.Term)
	}
	e.table.Term = req.Term
	if e.paused {
		return ErrPaused
	}
	return nil
}

func (e *Executor) under(key string) bool {
	return slices.ContainsFunc(e.table.Jobs, func(j *job) bool { return j.Request.Key == key })
}

// Active tells a leader what is going on here. From now on requests of terms below its own are refused.
func (e *Executor) Active(term uint64) Activity {
	e.mu.Lock()
	defer e.mu.Unlock()
	if term > e.table.Term {
		e.table.Term = term
		e.poke() // there is somebody to take results
	}
	a := Activity{Node: e.cfg.Node, Session: e.table.Session, Unsent: len(e.table.Outbox)}
	for _, j := range e.table.Jobs {
		a.Under = append(a.Under, e.describe(j))
	}
	for _, r := range e.table.Outbox {
		if !r.Repeat {
			a.Under = append(a.Under, Under{Key: r.Key, Resource: r.Resource, Task: r.Task, Interval: r.Interval, CallID: r.CallID})
		}
	}
	slices.SortStableFunc(a.Under, func(x, y Under) int { return cmp.Compare(x.CallID, y.CallID) })
	for _, j := range e.table.Recurring {
		a.Recurring = append(a.Recurring, e.describe(j))
	}
	slices.SortFunc(a.Recurring, func(x, y Under) int {
		return cmp.Or(strings.Compare(x.Resource, y.Resource), strings.Compare(x.Task, y.Task), cmp.Compare(x.Interval, y.Interval))
	})
	for _, r := range e.table.Active {
		a.Active = append(a.Active, r.Request.Op.Resource)
	}
	return a
}

func (e *Executor) describe(j *job) Under {
	l := e.lanes[j.Request.Op.Resource]
	return Under{Key: j.Request.Key, Resource: j.Request.Op.Resource, Task: j.Request.Op.Action,
		Interval: j.Request.Op.Interval, Timeout: j.Request.Op.Timeout, CallID: j.CallID, Running: l != nil && l.running == j}
}

// Close ends the executor and leaves the resources alone. Operations under way are cut short; the next executor of this
// boot repeats them.
func (e *Executor) Close() {
	e.cancel()
	e.wg.Wait()
	e.watch.close()
}

// save writes the table. A daemon that cannot write its run directory goes on: what is lost is only needed after it
// died.
func (e *Executor) save() {
	if err := e.table.save(e.path); err != nil {
		e.cfg.Log.Error("executor's table not saved", "err", err)
	}
}

func (e *Executor) event(name string, j *job, more map[string]any) {
	attrs := map[string]any{"resource": j.Request.Op.Resource, "action": j.Request.Op.Action,
		"interval_ms": j.Request.Op.Interval.Milliseconds(), "key": j.Request.Key, "call_id": j.CallID}
	for k, v := range more {
		attrs[k] = v
	}
	e.cfg.Event(name, attrs)
}
