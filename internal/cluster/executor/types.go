// Package executor runs the operations of resources on its own node, as the leader's controller asks for them: one at a
// time per resource, with timeouts, repeating the recurring ones by itself and telling only what changed. What it has
// to know after a daemon that died is kept in the run directory: recurring operations, operations that were under way,
// results nobody has taken yet. It decides nothing about resources.
package executor

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/agent"
)

// What a Request asks for.
const (
	// Run runs Op once, or from now on every Op.Interval.
	Run = ""
	// Cancel ends the recurring operation (Op.Resource, Op.Action, Op.Interval).
	Cancel = "cancel"
	// Forget drops everything known of Op.Resource: the leader has deleted its history.
	Forget = "forget"
)

// Request asks a node's executor for one operation.
type Request struct {
	// Term is the leader's Raft term: requests of an older leader than one already heard of are refused, so that two
	// never command a node at once.
	Term uint64 `json:"term"`
	// Key identifies the request (the CIB's transition key, ACTION:TRANSITION:TARGET-RC:ORIGIN). One that was
	// received before is not carried out again.
	Key string `json:"key"`
	Do  string `json:"do,omitempty"`
	// Op is what to run; an Op.Timeout of 0 means cluster.DefaultOpTimeout.
	Op agent.Operation `json:"op"`
	// TargetRC is the exit code that will count as success; only handed back.
	TargetRC agent.Code `json:"target_rc"`
	// Digest of the parameters (cib.OpDigest); only handed back.
	Digest string `json:"digest,omitempty"`
	// StartDelay is awaited before the first run.
	StartDelay time.Duration `json:"start_delay,omitempty"`
}

// Report is the result of an operation, on its way to the leader.
type Report struct {
	// Seq numbers the reports of a session, rising: one delivered twice is known by it, in the log too
	// (state.ReportEdits).
	Seq uint64 `json:"seq"`
	// Term is the highest the node has heard of: a leader of an older one must not take the report, since a newer one has
	// been told that it will come.
	Term    uint64 `json:"term"`
	Node    string `json:"node"`
	Session uint64 `json:"session"`
	// Key, TargetRC and Digest of the request. A recurring operation keeps those of the request that began it.
	Key      string     `json:"key"`
	TargetRC agent.Code `json:"target_rc"`
	Digest   string     `json:"digest,omitempty"`
	// CallID numbers the operations of the node, from 1.
	CallID int `json:"call_id"`
	// Do, Task and Interval are the request's: with Cancel, Task names what was cancelled.
	Do       string        `json:"do,omitempty"`
	Resource string        `json:"resource"`
	Spec     agent.Spec    `json:"spec"`
	Task     string        `json:"task"`
	Interval time.Duration `json:"interval"`
	Code     agent.Code    `json:"code"`
	Status   agent.Status  `json:"status"`
	// ExitReason is at most cluster.MaxExitReason long.
	ExitReason string `json:"exit_reason,omitempty"`
	// Exec is how long it ran, Queued how long it waited for its turn.
	Exec   time.Duration `json:"exec"`
	Queued time.Duration `json:"queued"`
	// Began and Changed are wall clock: when it began, and when a recurring operation's result last changed.
	Began   time.Time `json:"began"`
	Changed time.Time `json:"changed"`
	// Repeat: a later run of a recurring operation, whose first result has been reported before.
	Repeat bool `json:"repeat,omitempty"`
}

// Under tells of an operation that has been asked for, and whose result no leader has taken yet.
type Under struct {
	Key      string        `json:"key"`
	Resource string        `json:"resource"`
	Task     string        `json:"task"`
	Interval time.Duration `json:"interval"`
	CallID   int           `json:"call_id"`
	// Timeout is the operation's; for a recurring one, of each run.
	Timeout time.Duration `json:"timeout"`
	Running bool          `json:"running"` // false: it waits for its turn, or has ended
}

// Activity is what an executor is doing.
type Activity struct {
	Node    string `json:"node"`
	Session uint64 `json:"session"`
	// Under lists one-off operations and first runs of recurring ones, sorted by call-id. Their results will come.
	Under []Under `json:"under,omitempty"`
	// Recurring lists what is repeated, sorted by resource, task and interval.
	Recurring []Under `json:"recurring,omitempty"`
	// Active lists the resources known to run here, in the order they were started.
	Active []string `json:"active,omitempty"`
	// Unsent is the number of results not taken yet.
	Unsent int `json:"unsent,omitempty"`
}

// Agents finds the agent for a resource; the host's catalog implements it.
type Agents interface {
	Agent(spec agent.Spec) (agent.Agent, error)
}

// Sink takes a report to the leader and returns nil once it is committed there, or is known to matter to nobody. After
// an error the same report is delivered again. Reports come one at a time, in the order of Seq.
type Sink func(ctx context.Context, r Report) error

// Errors of Submit.
var (
	ErrStaleTerm = errors.New("the request comes from a leader that has been succeeded")
	ErrPaused    = errors.New("this node holds no lease and runs nothing")
	ErrBusy      = errors.New("too many operations wait for this resource")
)
