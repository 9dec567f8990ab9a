// Package agent is the seam between the executor and whatever carries out an operation on a resource: an external OCF
// script, a systemd unit, or a built-in agent. It follows the Open Cluster Framework resource agent API 1.1
// (exit codes, actions, parameter passing) as Pacemaker Explained documents it.
package agent

import (
	"context"
	"time"
)

// Code is an OCF exit code.
type Code int

// The OCF exit codes (OCF resource agent API 1.1; Pacemaker's 190-193 extensions).
const (
	OK               Code = 0
	ErrGeneric       Code = 1
	ErrArgs          Code = 2
	ErrUnimplemented Code = 3
	ErrPerm          Code = 4
	ErrInstalled     Code = 5
	ErrConfigured    Code = 6
	NotRunning       Code = 7
	RunningPromoted  Code = 8
	FailedPromoted   Code = 9
	Degraded         Code = 190
	DegradedPromoted Code = 191
	Unknown          Code = 193
)

// Status says how an operation ended, beside its code; the numbers are the CIB's op-status.
type Status int

// The op-status values of the CIB.
const (
	Pending      Status = -1
	Done         Status = 0
	Cancelled    Status = 1
	TimedOut     Status = 2
	NotSupported Status = 3
	Error        Status = 4
	NotInstalled Status = 7
)

// Spec names a resource's agent: class ocf, provider heartbeat, type Filesystem.
type Spec struct {
	Class, Provider, Type string
}

// String gives the spec as users write it: ocf:heartbeat:Filesystem.
func (s Spec) String() string {
	if s.Provider == "" {
		return s.Class + ":" + s.Type
	}
	return s.Class + ":" + s.Provider + ":" + s.Type
}

// Operation is one call of an agent.
type Operation struct {
	Resource string // instance name as the agent sees it: drbd_fs, drbd_ha, web:1
	Spec     Spec
	Action   string        // start stop monitor promote demote notify reload migrate_to migrate_from meta-data validate-all
	Interval time.Duration // 0 for a one-off operation
	Timeout  time.Duration
	// Params are the instance attributes, without the OCF_RESKEY_ prefix.
	Params map[string]string
	// Meta are the meta attributes and notify variables, named as in the graph (CRM_meta_...), to be passed as
	// OCF_RESKEY_CRM_meta_....
	Meta map[string]string
	// Started, if set, is told the id of the process that carries the operation out, when there is one.
	Started func(pid int) `json:"-"`
}

// Result is what an operation came to.
type Result struct {
	Code   Code
	Status Status
	// ExitReason is the agent's own one line for people (ocf_exit_reason), or ours when we could not run it.
	ExitReason string
	Stdout     []byte
	Stderr     []byte
	// Queued and Exec are how long the operation waited for its turn and how long it ran.
	Queued, Exec time.Duration
}

// Agent runs operations. Run returns when the operation has ended or ctx is done, and leaves nothing of a cancelled
// operation behind but what the resource itself started.
type Agent interface {
	Run(ctx context.Context, op Operation) Result
}
