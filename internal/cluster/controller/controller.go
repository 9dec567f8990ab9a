// Package controller turns decisions into operations. It runs on every member and works on the one that leads: whenever
// something has changed it asks the scheduler what to do, walks the transition, hands each action to its node's
// executor, and records the results in the CIB through the log. It decides nothing: what to do is the scheduler's, in
// which order the walker's, who is lost the log's.
//
// A new leader begins by asking every node what it is still doing for the one before, and waits for that; nodes refuse
// requests of older terms from then on. So no action is ever run twice at once, whoever dies when.
package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/state"
)

// Log is the cluster's log as the controller uses it; raftlog.Node implements it.
type Log interface {
	View() *state.View
	Status() raftlog.Status
	// Changed is closed at the next change of View or of leadership.
	Changed() <-chan struct{}
	ProposeInTerm(ctx context.Context, term uint64, c state.Command) (state.Result, error)
}

// Nodes reaches the nodes. Calls may fail and may have been carried out all the same; they are repeated.
type Nodes interface {
	// Dispatch has a node's executor take a request (executor.Submit).
	Dispatch(ctx context.Context, node string, req executor.Request) error
	// Active asks a node's executor what it is doing (executor.Active), and to listen to no older term any more.
	Active(ctx context.Context, node string, term uint64) (executor.Activity, error)
	// Leave tells a node that everything has been moved away and it may end its lease. It returns once the node knows.
	Leave(ctx context.Context, node string) error
	// Fence makes sure that a node runs nothing, and returns once that is in the log (its lease is over).
	Fence(ctx context.Context, node string) error
}

// Config is what a controller works with. Event and Why may be nil.
type Config struct {
	Node  string
	Log   Log
	Nodes Nodes
	Clock clock.Source
	Logs  *slog.Logger
	// Why says what keeps a replica out of U, for people.
	Why Why
	// Event records the timeline: transition.start, transition.end, action.start, action.end.
	Event func(name string, attrs map[string]any)
}

// ErrNotLeading is Report's error on a member that does not lead: the report is for another, or for later.
var ErrNotLeading = errors.New("this member does not lead the cluster now")

// Controller is the controller of one member.
type Controller struct {
	cfg    Config
	origin string // UUID of this controller, in its transition keys
	nextID int    // of the next transition; only the loop uses it

	settled atomic.Uint64

	mu       sync.Mutex
	lead     *lead
	decision *Decision
}

// Decision is the last decision of the leader, for `pcs status`.
type Decision struct {
	At time.Time
	// TransitionID numbers it; Actions is how many it planned.
	TransitionID, Actions int
	Output                *scheduler.Output
}

// New makes a controller.
func New(cfg Config) *Controller {
	if cfg.Event == nil {
		cfg.Event = func(string, map[string]any) {}
	}
	return &Controller{cfg: cfg, origin: newUUID()}
}

// newUUID draws a UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Run works until ctx is done, whenever this member leads.
func (c *Controller) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := c.cfg.Log.Changed()
		if st := c.cfg.Log.Status(); st.IsLeader && st.LeaderReady != 0 {
			c.reign(ctx, st.Term)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return ctx.Err()
}

// reign leads for one term.
func (c *Controller) reign(ctx context.Context, term uint64) {
	inner, cancel := context.WithCancel(ctx)
	l := newLead(c, inner, term)
	c.mu.Lock()
	c.lead = l
	c.mu.Unlock()
	c.cfg.Logs.Info("controller leads", "term", term)
	l.run()
	c.mu.Lock()
	c.lead, c.decision = nil, nil
	c.mu.Unlock()
	c.settled.Store(0)
	cancel()
	l.wg.Wait()
	c.cfg.Logs.Info("controller leads no more", "term", term)
}

// Report takes the result of an operation and returns nil once it is recorded in the log, or is known to matter to
// nobody (its node's session is over). The executor repeats it after any error. It is safe to deliver one twice.
func (c *Controller) Report(ctx context.Context, r executor.Report) error {
	c.mu.Lock()
	l := c.lead
	c.mu.Unlock()
	if l == nil {
		return ErrNotLeading
	}
	done := make(chan error, 1)
	select {
	case l.inbox <- message{report: &r, done: done}:
	case <-l.ctx.Done():
		return ErrNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-l.ctx.Done():
		return ErrNotLeading
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Decision is the last decision, nil on a member that does not lead or has not decided yet.
func (c *Controller) Decision() *Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.decision
}

// Settled is the index of the log's state for which the last decision found nothing to do (what crm_resource --wait waits
// for); 0 while something is under way, and on a member that does not lead.
func (c *Controller) Settled() uint64 { return c.settled.Load() }

// Reasons are those of the last decision.
func (c *Controller) Reasons() []api.Reason {
	d := c.Decision()
	if d == nil {
		return nil
	}
	out := make([]api.Reason, 0, len(d.Output.Reasons))
	for _, r := range d.Output.Reasons {
		out = append(out, api.Reason{Resource: r.Resource, Node: r.Node, Text: r.Text})
	}
	return out
}

func (c *Controller) decided(d *Decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decision = d
}

// record proposes status edits in the leader's own term.
func (l *lead) record(edits []state.StatusEdit) error {
	return l.propose(&state.CIBStatus{Edits: edits})
}

// propose proposes a change of the status in the leader's own term.
func (l *lead) propose(change *state.CIBStatus) error {
	ctx, cancel := context.WithTimeout(l.ctx, cluster.RecordTimeout)
	defer cancel()
	change.Term = l.term
	if _, err := l.c.cfg.Log.ProposeInTerm(ctx, l.term, change); err != nil {
		return fmt.Errorf("record changes of the cluster's status: %w", err)
	}
	return nil
}
