package executor

import (
	"slices"
	"time"

	"holdfast/internal/cluster"
)

// post puts a report into the outbox. Called with mu held; the caller saves.
func (e *Executor) post(r Report) {
	for _, old := range e.table.Outbox {
		if old.Seq == r.Seq {
			return
		}
	}
	e.table.Outbox = append(e.table.Outbox, r)
	if over := len(e.table.Outbox) - cluster.MaxOutbox; over > 0 {
		e.cfg.Log.Error("results dropped: no leader has taken any for too long", "dropped", over)
		e.table.Outbox = slices.Delete(e.table.Outbox, 0, over)
	}
	e.poke()
}

func (e *Executor) poke() {
	select {
	case e.outbox <- struct{}{}:
	default:
	}
}

// deliver hands the reports to the sink, one at a time, each until it is taken.
func (e *Executor) deliver() {
	pause := cluster.ReportRetryMin
	for e.ctx.Err() == nil {
		r, ok := e.oldest()
		if !ok {
			select {
			case <-e.outbox:
			case <-e.ctx.Done():
			}
			continue
		}
		if err := e.cfg.Sink(e.ctx, r); err != nil {
			e.cfg.Log.Debug("result not taken yet", "resource", r.Resource, "action", r.Task, "err", err)
			e.nap(pause)
			pause = min(2*pause, cluster.ReportRetryMax)
			continue
		}
		pause = cluster.ReportRetryMin
		e.taken(r)
	}
}

func (e *Executor) nap(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.outbox: // a new leader has asked, or there is more
	case <-e.ctx.Done():
	}
}

func (e *Executor) oldest() (Report, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.table.Outbox) == 0 || e.table.Session == 0 {
		return Report{}, false
	}
	r := e.table.Outbox[0]
	r.Term = e.table.Term
	return r, true
}

// taken removes a report from the outbox, unless a new leader has been told of it meanwhile: then that one waits for it.
func (e *Executor) taken(r Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Term != e.table.Term {
		return
	}
	e.table.Outbox = slices.DeleteFunc(e.table.Outbox, func(x Report) bool { return x.Seq == r.Seq })
	e.save()
}
