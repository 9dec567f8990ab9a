package executor

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/cluster"
)

// lane is the queue of one resource: its operations run one after another, in a goroutine of the lane's own. All fields
// but wake are guarded by Executor.mu.
type lane struct {
	name    string
	queue   []*job // one-off operations and first runs, in the order asked for
	repeats []*job
	running *job
	stop    context.CancelFunc // of running
	wake    chan struct{}
	checked time.Time // when a death last caused a monitor
}

// lane gives a resource's lane, starting it.
func (e *Executor) lane(resource string) *lane {
	l := e.lanes[resource]
	if l == nil {
		l = &lane{name: resource, wake: make(chan struct{}, 1)}
		e.lanes[resource] = l
		e.wg.Go(func() { e.work(l) })
	}
	return l
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// interrupt makes way for a request: a repeated monitor under way is cut short (it will run again, unless the request
// ends it), and so is whatever a cancellation is about.
func (l *lane) interrupt(req Request) {
	j := l.running
	if j == nil || !j.recurring() {
		return
	}
	ends := req.Do == Cancel && j.same(req.Op)
	j.dropped = j.dropped || ends
	if l.stop != nil && (ends || j.Last != nil) {
		l.stop()
	}
}

func (e *Executor) work(l *lane) {
	for e.ctx.Err() == nil {
		j, wait := e.next(l)
		if j != nil {
			e.perform(l, j)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-e.ctx.Done():
		}
		timer.Stop()
	}
}

// idle is how long a lane with nothing to do sleeps; it is woken for everything new.
const idle = time.Hour

// next takes the job whose turn it is, or tells how long to wait.
func (e *Executor) next(l *lane) (*job, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.paused {
		return nil, idle
	}
	wait, now := idle, time.Now()
	if len(l.queue) > 0 {
		j := l.queue[0]
		if left := j.due.Sub(now); left > 0 {
			wait = left
		} else {
			l.queue = l.queue[1:]
			return l.take(j), 0
		}
	}
	for _, j := range l.repeats {
		left := j.due.Sub(now)
		if left <= 0 {
			j.queued = j.due
			return l.take(j), 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

func (l *lane) take(j *job) *job {
	l.running = j
	return j
}

// perform runs a job and deals with what came of it.
func (e *Executor) perform(l *lane, j *job) {
	op := j.Request.Op
	if op.Timeout <= 0 {
		op.Timeout = cluster.DefaultOpTimeout
	}
	e.awaitOrphan(j, op.Timeout)
	ctx, cancel := context.WithTimeout(e.ctx, op.Timeout)
	defer cancel()
	e.mu.Lock()
	l.stop = cancel
	session, repeat := e.table.Session, j.Last != nil
	if j.dropped || e.paused {
		cancel()
	}
	if op.Action == "stop" && j.Request.Do == Run {
		e.dropRepeats(l, nil)
	}
	e.mu.Unlock()
	began := e.cfg.Clock.Wall()
	if !repeat {
		e.event("op.start", j, nil)
	}
	waited := time.Since(j.queued)
	r := e.carryOut(ctx, j, op)
	r.Queued = max(0, waited)
	e.mu.Lock()
	l.running, l.stop = nil, nil
	if e.ctx.Err() == nil && session == e.table.Session && !e.paused {
		e.ended(l, j, r, began)
	}
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	active := r.Status == agent.Done && (r.Code == agent.OK || r.Code == agent.RunningPromoted)
	if e.watch.follow(e.cfg.Root, op) && active && op.Action != "stop" {
		e.died(op.Resource)
	}
	if op.Action == "stop" && r.Status == agent.Done && r.Code == agent.OK {
		removeCgroup(ocf.Cgroup(e.cfg.Root, op.Resource))
	}
}

// removeCgroup removes a stopped resource's cgroup. One that still has processes after a moment stays, and is killed with
// everything else when the lease ends.
func removeCgroup(dir string) {
	for range 10 {
		if err := unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(cluster.OrphanPoll / 10) // processes that were killed take a moment to be gone
	}
}

// carryOut calls the agent, or does what needs none.
func (e *Executor) carryOut(ctx context.Context, j *job, op agent.Operation) agent.Result {
	if j.Request.Do != Run {
		return agent.Result{}
	}
	a, err := e.cfg.Agents.Agent(op.Spec)
	if err != nil {
		return agent.Result{Code: agent.ErrInstalled, Status: agent.NotInstalled, ExitReason: err.Error()}
	}
	if err := e.cfg.Lease(); err != nil {
		return e.leaseOver(err)
	}
	op.Started = func(pid int) {
		if err := e.cfg.Lease(); err != nil {
			// The host slept between the question and the start: the guard may have killed all it found in between.
			process.KillSession(pid, ocf.Cgroup(e.cfg.Root, op.Resource))
			e.leaseOver(err)
			return
		}
		if j.Last == nil {
			e.noteProcess(j, pid)
		}
	}
	return a.Run(ctx, op)
}

// leaseOver pauses: nothing is run any more. The results of what was cut short matter to nobody.
func (e *Executor) leaseOver(why error) agent.Result {
	e.cfg.Log.Warn("no operation is run without a lease", "why", why)
	e.Pause()
	return agent.Result{Code: agent.Unknown, Status: agent.Cancelled, ExitReason: why.Error()}
}

// noteProcess keeps the process of an operation, for the daemon after this one.
func (e *Executor) noteProcess(j *job, pid int) {
	stat, err := process.ReadStat(pid)
	if err != nil {
		return // ended already
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	j.PID, j.Start = pid, stat.Start
	e.save()
}

// awaitOrphan waits for the process of an operation that an earlier daemon began, and kills it after the operation's
// timeout. The operation is repeated afterwards: agents' actions are idempotent, and its outcome is not known.
func (e *Executor) awaitOrphan(j *job, timeout time.Duration) {
	if j.PID == 0 {
		return
	}
	end := time.Now().Add(timeout)
	for e.ctx.Err() == nil && alive(j.PID, j.Start) {
		if time.Now().After(end) {
			process.KillSession(j.PID, ocf.Cgroup(e.cfg.Root, j.Request.Op.Resource))
			break
		}
		time.Sleep(cluster.OrphanPoll)
	}
	j.PID, j.Start = 0, 0
}

func alive(pid int, start uint64) bool {
	stat, err := process.ReadStat(pid)
	return err == nil && stat.Start == start && stat.State != 'Z'
}

// ended files the result of a job. Called with mu held.
func (e *Executor) ended(l *lane, j *job, r agent.Result, began time.Time) {
	report := e.report(j, r, began)
	switch {
	case j.Last != nil:
		e.repeated(l, j, report)
		return
	case j.recurring() && !j.dropped:
		j.Last, j.PID = &report, 0
		j.due = time.Now().Add(j.Request.Op.Interval)
		// One that was asked for anew (another timeout, other parameters) replaces the old one.
		e.dropRepeats(l, &j.Request.Op)
		e.table.Recurring = append(e.table.Recurring, j)
		l.repeats = append(l.repeats, j)
	default:
		e.effects(l, j, r)
	}
	e.table.Jobs = remove(e.table.Jobs, j)
	e.table.finish(report)
	e.logEnd(j, report)
	e.post(report)
	e.save()
}

// repeated files a later run of a recurring operation: told only if something changed.
func (e *Executor) repeated(l *lane, j *job, report Report) {
	j.due = time.Now().Add(j.Request.Op.Interval)
	if report.Status == agent.Cancelled || !slices.Contains(l.repeats, j) {
		if report.Status == agent.Cancelled {
			j.due = time.Now() // cut short by another operation: its answer is still wanted
		}
		return
	}
	if j.Last.Code == report.Code && j.Last.Status == report.Status {
		return
	}
	report.Repeat = true
	j.Last = &report
	e.logEnd(j, report)
	e.post(report)
	e.save()
}

// effects keeps the table in step with what a one-off operation did.
func (e *Executor) effects(l *lane, j *job, r agent.Result) {
	op := j.Request.Op
	switch {
	case j.Request.Do == Cancel:
		e.dropRepeats(l, &op)
	case j.Request.Do == Forget:
		e.dropRepeats(l, nil)
		e.table.ended(op.Resource)
	case r.Status != agent.Done:
	case op.Action == "stop" && r.Code == agent.OK:
		e.table.ended(op.Resource)
	case op.Action == "start" && r.Code == agent.OK:
		e.table.started(j.Request)
	case op.Action == "promote" && r.Code == agent.OK:
		e.table.promoted(op.Resource, true)
	case op.Action == "demote" && r.Code == agent.OK:
		e.table.promoted(op.Resource, false)
	case op.Action == "monitor" && (r.Code == agent.OK || r.Code == agent.RunningPromoted):
		e.table.started(j.Request) // found running by a probe
		e.table.promoted(op.Resource, r.Code == agent.RunningPromoted)
	}
}

// dropRepeats ends recurring operations of a lane: the one named, or all.
func (e *Executor) dropRepeats(l *lane, op *agent.Operation) {
	for _, j := range slices.Clone(l.repeats) {
		if op == nil || j.same(*op) {
			l.repeats = remove(l.repeats, j)
			e.table.Recurring = remove(e.table.Recurring, j)
		}
	}
}

func (e *Executor) report(j *job, r agent.Result, began time.Time) Report {
	e.table.Seq++
	reason := r.ExitReason
	if len(reason) > cluster.MaxExitReason {
		reason = reason[:cluster.MaxExitReason]
	}
	op := j.Request.Op
	return Report{Seq: e.table.Seq, Node: e.cfg.Node, Session: e.table.Session, Key: j.Request.Key,
		TargetRC: j.Request.TargetRC, Digest: j.Request.Digest, CallID: j.CallID, Resource: op.Resource, Spec: op.Spec, Do: j.Request.Do, Task: op.Action, Interval: op.Interval, Code: r.Code, Status: r.Status, ExitReason: reason,
		Exec: r.Exec, Queued: r.Queued, Began: began, Changed: e.cfg.Clock.Wall()}
}

func (e *Executor) logEnd(j *job, r Report) {
	e.event("op.end", j, map[string]any{"rc": int(r.Code), "status": int(r.Status), "reason": r.ExitReason,
		"exec_ms": r.Exec.Milliseconds(), "queue_ms": r.Queued.Milliseconds(), "repeat": r.Repeat})
	if r.Status != agent.Done || r.Code != r.TargetRC {
		e.cfg.Log.Warn("operation ended otherwise than expected", "resource", r.Resource, "action", r.Task,
			"interval", r.Interval, "rc", int(r.Code), "expected", int(r.TargetRC), "status", int(r.Status), "reason", r.ExitReason)
	}
}

// died makes the recurring operations of a resource run now: a process of it has ended.
func (e *Executor) died(resource string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lanes[resource]
	if l == nil || len(l.repeats) == 0 || e.paused {
		return
	}
	at := time.Now()
	if next := l.checked.Add(cluster.DeathCheckGap); at.Before(next) {
		at = next
	}
	l.checked = at
	e.cfg.Event("process.died", map[string]any{"resource": resource})
	for _, j := range l.repeats {
		if at.Before(j.due) {
			j.due = at
		}
	}
	l.poke()
}
