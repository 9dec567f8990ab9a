package controller

import (
	"errors"
	"strconv"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/state"
)

// take deals with what came in: reports are recorded together.
func (l *lead) take(batch []message) {
	var reports []message
	for _, m := range batch {
		switch {
		case m.activity != nil:
			l.adopt(m.activity)
		case m.outcome != nil:
			l.finish(*m.outcome)
		case m.report != nil:
			reports = append(reports, m)
		}
	}
	l.takeReports(reports)
}

// finish ends an action that was a call of ours.
func (l *lead) finish(o outcome) {
	f := l.flights[o.key]
	if f == nil {
		return
	}
	why := ""
	if o.err != nil {
		why = o.err.Error()
		l.stale = true
		l.c.cfg.Logs.Error("action failed", "node", f.node, "action", f.action.Task, "err", o.err)
	}
	l.land(f, o.err == nil, why)
}

// takeReports records the reports in one log entry, or, if the log refuses that, each in its own.
func (l *lead) takeReports(batch []message) {
	view := l.c.cfg.Log.View()
	var fresh []message
	var reports []state.ReportEdits
	for _, m := range batch {
		if keep, err := l.fresh(view, m.report); !keep {
			m.done <- err
			continue
		}
		fresh = append(fresh, m)
		if edits := l.edits(view, m.report); len(edits) > 0 {
			r := m.report
			reports = append(reports, state.ReportEdits{Node: r.Node, Session: r.Session, Seq: r.Seq, Edits: edits})
		}
	}
	if len(fresh) == 0 {
		return
	}
	var err error
	if len(reports) > 0 {
		err = l.propose(&state.CIBStatus{Reports: reports})
	}
	var refused *state.Refusal
	if errors.As(err, &refused) && len(fresh) > 1 {
		for _, m := range fresh {
			l.takeReports([]message{m})
		}
		return
	}
	for _, m := range fresh {
		l.recorded(m, err)
	}
}

// fresh tells whether a report is worth recording. If not, err is what its sender is told: nil when it matters no more.
func (l *lead) fresh(view *state.View, r *executor.Report) (bool, error) {
	if r.Term > l.term {
		return false, ErrNotLeading
	}
	if lease := view.Leases[r.Node]; r.Session > lease.Session {
		return false, errors.New("this member has not yet heard of the session")
	}
	if !view.LeaseLive(r.Node, r.Session) {
		return false, nil
	}
	s := l.seen[r.Node]
	if r.Seq <= view.Leases[r.Node].Reported || s.session == r.Session && r.Seq <= s.seq {
		// Delivered again, perhaps to the second leader. The node may have been asked again under the same key, which is answered with it.
		if f := l.flights[r.Key]; f != nil {
			l.landed(f, r)
		}
		return false, nil
	}
	return true, nil
}

// recorded ends what a report answers, once it is in the log.
func (l *lead) recorded(m message, err error) {
	r := m.report
	var refused *state.Refusal
	if err != nil && !errors.As(err, &refused) {
		m.done <- err
		return
	}
	if err != nil {
		l.c.cfg.Logs.Error("the log refuses a result", "node", r.Node, "resource", r.Resource, "action", r.Task, "err", err)
	}
	l.seen[r.Node] = seen{r.Session, r.Seq}
	f := l.flights[r.Key]
	if f != nil && !r.Repeat {
		l.landed(f, r)
	} else {
		l.stale = l.stale || failed(r) || r.Repeat // nobody waited for this
		l.noteEnd(r.Key)
	}
	m.done <- nil
}

// landed ends the flight a report answers.
func (l *lead) landed(f *flight, r *executor.Report) {
	// Notifications inform; what they come to changes nothing. Nor does what is configured to be ignored.
	ok := !failed(r) || r.Task == "notify" || (f.action != nil && f.action.OnFail() == "ignore")
	why := ""
	if !ok {
		why = r.ExitReason
	}
	// An earlier leader's operation has a result that is new to our decision.
	l.stale = l.stale || !ok || f.action == nil
	l.land(f, ok, why)
}

// failed tells whether an operation ended otherwise than its transition expected.
func failed(r *executor.Report) bool {
	return r.Do == executor.Run && r.Status != agent.Cancelled && (r.Status != agent.Done || r.Code != r.TargetRC)
}

// edits are the changes of the status a report makes.
func (l *lead) edits(view *state.View, r *executor.Report) []state.StatusEdit {
	switch {
	case r.Do == executor.Cancel:
		return []state.StatusEdit{{DeleteHistory: &state.HistoryEdit{Node: r.Node, Resource: r.Resource, Task: r.Task, Interval: r.Interval}}}
	case r.Do == executor.Forget:
		return []state.StatusEdit{{DeleteHistory: &state.HistoryEdit{Node: r.Node, Resource: r.Resource}},
			{ClearFailures: &state.HistoryEdit{Node: r.Node, Resource: r.Resource}}}
	case !cib.Recordable(r.Task) || r.Status == agent.Cancelled:
		return nil
	}
	record := recordOf(r)
	edits := []state.StatusEdit{{Op: &state.OpEdit{Session: r.Session, Record: record}}}
	if l.counts(r) {
		edits = append(edits, state.StatusEdit{Failure: &state.FailureEdit{Node: r.Node, Resource: r.Resource, Task: r.Task,
			Interval: r.Interval, Fatal: l.fatal(view, r), UnixSeconds: r.Changed.Unix()}})
	}
	return edits
}

// counts tells whether a failure is counted, as Pacemaker counts: recurring operations, start, stop, promote, demote, but
// neither probes nor what is configured to be ignored.
func (l *lead) counts(r *executor.Report) bool {
	if !failed(r) || (r.Task == "monitor" && r.Interval == 0) || r.Task == "notify" {
		return false
	}
	f := l.flights[r.Key]
	return f == nil || f.action == nil || f.action.OnFail() != "ignore"
}

// fatal tells whether the failure rules the node out at once.
func (l *lead) fatal(view *state.View, r *executor.Report) bool {
	switch r.Task {
	case "stop":
		return true
	case "start":
		yes, ok := cib.ParseBool(view.CIB.Property("start-failure-is-fatal"))
		return yes || !ok
	}
	return false
}

func recordOf(r *executor.Report) cib.OpRecord {
	record := cib.OpRecord{Node: r.Node, Resource: r.Resource, Class: r.Spec.Class, Provider: r.Spec.Provider, Type: r.Spec.Type,
		Task: r.Task, Interval: r.Interval, RC: int(r.Code), Status: int(r.Status), TargetRC: int(r.TargetRC), CallID: r.CallID,
		ExitReason: r.ExitReason, Digest: r.Digest, LastChange: r.Changed, Exec: r.Exec, Queue: r.Queued}
	record.ActionID, record.TransitionID, record.Origin = splitKey(r.Key)
	return record
}

// splitKey takes a transition key apart; what is none gives zeros.
func splitKey(key string) (action, graph int, origin string) {
	parts := strings.SplitN(key, ":", 4)
	if len(parts) != 4 {
		return 0, 0, key
	}
	action, _ = strconv.Atoi(parts[0])
	graph, _ = strconv.Atoi(parts[1])
	return action, graph, parts[3]
}
