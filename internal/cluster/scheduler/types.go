package scheduler

import (
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/transition"
)

// Input is everything a decision depends on. Schedule does not change it.
type Input struct {
	// CIB is the configuration and status.
	CIB *cib.Document
	// Now decides on rules with dates and on failures that expire.
	Now time.Time
	// Quorate tells whether this partition may act.
	Quorate bool
	// Forbid lists what the volume log forbids: promotions of replicas that are not in U.
	Forbid []Forbid
	// Cautious: an action waits for the point in the order it belongs to even if that can never be reached, because the
	// stop of a resource failed and waits for a person. Pacemaker goes on with the instances of a clone in that case (it
	// demotes a volume under a filesystem that would not unmount, and promotes another); a live cluster of ours does not.
	Cautious bool
	// TransitionID numbers the graph made.
	TransitionID int
	// DC is the name of the node that leads; only shown.
	DC string
}

// Forbid rules out the promotion of a resource on a node.
type Forbid struct {
	// Resource is a primitive's id, without instance number.
	Resource string
	// Node is the node's name.
	Node string
	// Why completes the sentence "not promoted: ...", such as "replica not in U: resync 43 %".
	Why string
}

// Output is a decision.
type Output struct {
	// Graph is what to do, in which order. It is empty, not nil, when there is nothing to do.
	Graph *transition.Graph
	// Scores are the scores that decided, in the order in which they did.
	Scores []Score
	// Utilization is what nodes offer and resources take, in the order in which it was decided on.
	Utilization []Utilization
	// Summary has one entry per resource that changes, and per node fenced or shut down.
	Summary []Change
	// Reasons say why instances that should run or be promoted are not going to be.
	Reasons []Reason
	// Status is the present state, as read from the status section.
	Status *State
	// Recheck is when time alone may change the decision (an expiring failure, a date in a rule); zero for never.
	Recheck time.Time
	// Warnings are faults of the input the decision had to work around.
	Warnings []string
}

// Score is a score that took part in a decision.
type Score struct {
	// Step is where: "assign" (a primitive), "group", "clone", "bundle", or "promotion".
	Step string
	// Resource is the instance's id (drbd_ha:0); Node a node's name, or "none".
	Resource, Node string
	Value          int
}

// Change is one line of the summary.
type Change struct {
	// Action is Start, Stop, Restart, Recover, Reload, Move, Migrate, Promote, Demote, Leave or Fence (of a node).
	Action string
	// Resource is the instance's id; for Fence and Shutdown it is empty and Node is the node's name.
	Resource, Node string
	// Detail is what stands in parentheses: roles and nodes.
	Detail string
	// Source and Dest are the nodes it is and will be on, Role and NextRole the roles it has and will have, each empty where
	// Detail has no place for it.
	Source, Dest, Role, NextRole string
	// Reason is why, when it is not obvious: "due to drbd_fs restart (blocked)".
	Reason string
	// Blocked: it cannot be done.
	Blocked bool
	// Text is the whole line as crm_simulate prints it, without the leading "  * ".
	Text string
}

// Reason says in plain words why an instance will not run, or will not be promoted.
type Reason struct {
	Resource string
	// Node is the node it is about; empty when it is about all of them.
	Node string
	Text string
}

// Role is a role of a resource instance.
type Role int

// The roles, in ascending order.
const (
	RoleUnknown Role = iota
	RoleStopped
	RoleStarted
	RoleUnpromoted
	RolePromoted
)

// String gives the role's present name.
func (r Role) String() string {
	switch r {
	case RoleStopped:
		return "Stopped"
	case RoleStarted:
		return "Started"
	case RoleUnpromoted:
		return "Unpromoted"
	case RolePromoted:
		return "Promoted"
	}
	return "Unknown"
}

// State is where everything is, for people: what crm_mon and pcs status show.
type State struct {
	Nodes []NodeState
	// Resources are the top-level resources, in the order of the configuration, orphans last.
	Resources []ResourceState
	// Failures are the failed operations the history tells of, in the order of nodes and resources.
	Failures []FailedOp
	// DC, Quorate as in the input.
	DC      string
	Quorate bool
	// StonithEnabled, MaintenanceMode and StopAll are cluster properties worth showing.
	StonithEnabled, MaintenanceMode, StopAll bool
	// FenceDevices: there is one that could fence.
	FenceDevices bool
}

// NodeState is the state of a node.
type NodeState struct {
	ID, Name string
	Online   bool
	// Standby; OnFail when a failure with on-fail=standby caused it.
	Standby, StandbyOnFail bool
	Maintenance            bool
	// Health is RED or YELLOW when its health attributes say so and a strategy heeds them.
	Health string
	// Pending: it is joining. Unclean: it is lost and must be fenced before anything it ran may run elsewhere.
	Pending, Unclean bool
	// ShuttingDown: it asked to leave.
	ShuttingDown bool
	// Expected: the cluster counts on it (node_state's expected). DC: the CIB names it as the one that leads.
	Expected, DC bool
	// Remote: it is reached by a connection. Guest: so is it, and it is inside of a resource, Container.
	Remote, Guest bool
	Container     string
	// Active is how many primitives are active on it.
	Active int
	// Attributes are its permanent and transient attributes.
	Attributes map[string]string
}

// ResourceKind tells primitives from collections.
type ResourceKind int

// The kinds of resource.
const (
	Primitive ResourceKind = iota
	Group
	Clone
	Bundle
)

// ResourceState is the state of a resource, with its members or instances below.
type ResourceState struct {
	// ID is the instance's id: drbd_ha:0 inside of a clone. Name is the one to show: without the number where instances
	// are interchangeable.
	ID, Name string
	Kind     ResourceKind
	// Class, Provider and Type name a primitive's agent.
	Class, Provider, Type string
	Role                  Role
	// Target is the role the configuration asks for; RoleUnknown when it does not say.
	Target Role
	// TargetRole is the same in the words of the configuration.
	TargetRole string
	// Nodes are the names of the nodes it is active on.
	Nodes []string
	// ActiveAny and ActiveAll: it, or some or all of what is inside it, is active.
	ActiveAny, ActiveAll bool
	// Managed is false when the cluster leaves it alone. Blocked: a failure that needs a person.
	Managed, Maintenance, Blocked bool
	// Failed: its last operation failed. FailureIgnored: so it did, and on-fail=ignore.
	Failed, FailureIgnored bool
	Orphan                 bool
	// Internal: it is not in the configuration but follows from it, and is no concern of people's.
	Internal bool
	Disabled bool
	// Locked is the node it is kept for, which was shut down with it (shutdown-lock).
	Locked string
	// Hindered tells of the nodes on which a probe found that its agent cannot work, and how.
	Hindered map[string]string
	// Pending is the operation in progress, such as "Starting"; PendingNode where.
	Pending, PendingNode string
	// Promotable, Unique and Max describe a clone.
	Promotable, Unique bool
	Max, PromotedMax   int
	// Image is what a bundle's containers are made of. Each of its children is a replica: named after its guest node (or its
	// container, if nothing is inside), with the role of what runs inside, on the container's nodes.
	Image string
	// Technology makes the containers of a bundle: docker, podman or rkt. Parts are what a replica is made of: address, what runs
	// inside, container, connection.
	Technology string
	Parts      []ResourceState
	// ChildID is the configured id of what a clone is made of; Candidates are the nodes it may have instances on.
	ChildID    string
	Candidates []string
	// InPromotable: it is, or is part of, a promotable clone.
	InPromotable bool
	Children     []ResourceState
}

// FailedOp is a failed operation.
type FailedOp struct {
	Resource, Node, Task string
	Interval             time.Duration
	RC, Status, CallID   int
	ExitReason           string
	At                   time.Time
	Exec, Queue          time.Duration
}
